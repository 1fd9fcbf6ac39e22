// Bundles the page's scripts into ../src/voxflate/sharing/web, beside its template and its style, with a record of
// what they were made of.
// Usage: npm ci && npm run build

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const here = import.meta.dirname, out = join(here, "../src/voxflate/sharing/web");
const sha256 = (content) => createHash("sha256").update(content).digest("hex");
const packages = new Set();

async function bundled(entry, options) {
  const { outputFiles, metafile } = await build({
    entryPoints: [join(here, "src", entry)], bundle: true, write: false, metafile: true, target: "es2022",
    legalComments: "none", absWorkingDir: here, ...options,
  });
  for (const input of Object.keys(metafile.inputs)) {
    const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
  }
  return outputFiles[0].contents;
}

const parts = {
  "app.js": await bundled("app.js", { format: "esm" }),
  "worker.js": await bundled("worker.js", {
    // A page that was opened from the disk may start classic workers only.
    format: "iife", minify: true, define: { "import.meta.url": "self.location.href" },
  }),
  "niivue.js": await bundled("niivue.js", { format: "iife", globalName: "voxflateNiivue", minify: true }),
  "runtime.wasm": readFileSync(join(here, "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm")),
};

/** Every package in the bundles, with its licence's text. */
function licences() {
  const read = (name) => JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf-8"));
  // onnxruntime-web is published bundled, so esbuild does not see what is in it.
  for (const one of ["onnxruntime-web", ...Object.keys(read("onnxruntime-web").dependencies)]) packages.add(one);
  const texts = [...packages].sort().map((name) => {
    const folder = join(here, "node_modules", name), { version, license } = read(name);
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
    const path = file ? join(folder, file) : join(here, "licences", `${name.replace("/", "-")}.txt`);
    return `${name} ${version}: ${license}\n\n${readFileSync(path, "utf-8").trim()}`;
  });
  return texts.join(`\n\n${"-".repeat(72)}\n\n`) + "\n";
}

mkdirSync(out, { recursive: true });
for (const [name, content] of Object.entries(parts)) {
  rmSync(join(out, `${name}.xz`), { force: true });
  writeFileSync(join(out, name), content);
  execFileSync("xz", ["-9e", join(out, name)]);
}
writeFileSync(join(out, "licences.txt"), licences());
const folder = (name) => readdirSync(join(here, name)).sort().map((one) => `${name}/${one}`);
const sources = Object.fromEntries(
  ["build.mjs", "package.json", "package-lock.json", ...folder("licences"), ...folder("src")]
    .map((name) => [name, sha256(readFileSync(join(here, name)))]),
);
const made = Object.fromEntries(Object.entries(parts).map(([name, content]) => [name, sha256(content)]));
writeFileSync(join(out, "made-of.json"), `${JSON.stringify({ sources, made }, null, 2)}\n`);
