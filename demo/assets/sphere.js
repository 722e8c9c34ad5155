// Dragging turns the camera: to the right goes round to the right, up goes higher. The sliders beside it do the same by keyboard.
const perPixel = 0.9;
let from = null;
element.addEventListener("pointerdown", event => {
  from = { x: event.clientX, y: event.clientY, azimuth: Number(props.value.azimuth), rise: Number(props.value.rise) };
  element.setPointerCapture(event.pointerId);
  event.preventDefault();
});
element.addEventListener("pointermove", event => {
  if (!from) { return; }
  const round = from.azimuth + (event.clientX - from.x) * perPixel;
  const azimuth = Math.round(((round + 180) % 360 + 360) % 360 - 180);
  const rise = Math.round(Math.max(-90, Math.min(90, from.rise - (event.clientY - from.y) * perPixel)));
  props.value = { ...props.value, azimuth, rise };
  trigger("input");
});
for (const name of ["pointerup", "pointercancel"]) {
  element.addEventListener(name, () => { from = null; });
}
