// The part of NiiVue that the page uses, as one script of its own.
export { Niivue, NVImage, SLICE_TYPE, SHOW_RENDER, MULTIPLANAR_TYPE } from "@niivue/niivue";
