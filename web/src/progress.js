// The line and the bar that say what is being done.

export function say(text) {
  document.getElementById("status").textContent = text;
}

/** Move the bar as far as the last volume's time says; gives the function that ends it. */
export function working(text, milliseconds) {
  const bar = document.getElementById("progress"), began = performance.now();
  let going = true;
  say(text);
  const move = () => {
    if (!going) return;
    bar.value = 0.95 * (1 - Math.exp((-2.5 * (performance.now() - began)) / milliseconds));
    requestAnimationFrame(move);
  };
  move();
  return () => { going = false; bar.value = 1; };
}
