// The viewer: loads what scene.json lists, draws it with NiiVue, and asks the server for points.
import { Planes } from "./planes.js";

const { Niivue } = globalThis.niivue ?? {};
const byId = (id) => document.getElementById(id);
const state = byId("state");

function tell(words, name) {
  state.textContent = words;
  state.hidden = !words;
  document.body.dataset.state = name;
}

// In the 3-D picture what is nearly black is air; planes show it all the same.
const GREY = { R: [0, 40, 255], G: [0, 40, 255], B: [0, 40, 255], A: [0, 0, 128], I: [0, 40, 255] };

async function get(name, form) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error((await answer.text()).trim() || answer.statusText);
  return answer[form]();
}

// One canvas: an image, perhaps a second one over it, and what is drawn over both.
class Pane {
  constructor(role, roles, scene) {
    Object.assign(this, { role, roles, scene, canvas: byId(`${role}-canvas`) });
    this.facts = scene.shown[roles[0]];
    this.ready = null;
  }

  // made once, when it is first seen: a hidden canvas has no size
  open() {
    this.ready ??= this.start();
    return this.ready;
  }

  async start() {
    const nv = new Niivue({
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      show3Dcrosshair: true,
      multiplanarShowRender: 1,
      multiplanarLayout: 2,
      dragAndDropEnabled: false,
      crosshairColor: [0.35, 1, 0.45, 1],
      crosshairWidth: 0.3,
      crosshairWidthUnit: "percent",
      crosshairGap: 4,
      fontColor: [0.85, 0.87, 0.9, 1],
      loadingText: "",
      logLevel: "warn",
    });
    this.nv = nv;
    await nv.attachToCanvas(this.canvas);
    nv.addColormap("grey", GREY);
    const { shape, spacing } = this.facts;
    // before there is an image to draw: the shader is complete only once its textures are set
    this.planes = new Planes(nv, shape.map((n, axis) => n * spacing[axis]), this.scene.colours);
    this.planes.number("two", this.roles.length > 1);
    await nv.loadVolumes(
      this.roles.map((role) => {
        const [low, high] = this.scene.shown[role].ends;
        return { url: `${role}.nii`, name: `${role}.nii`, colormap: "grey", cal_min: low, cal_max: high };
      }),
    );
    await nv.setVolumeRenderIllumination(0.7);
    nv.setRenderAzimuthElevation(145, 12);
    await this.layers();
    nv.onLocationChange = (place) => this.moved?.(this, this.at(place.frac));
    this.canvas.addEventListener("keydown", (event) => this.step(event), { capture: true });
    if (this.point) this.show(this.point);
  }

  async layers() {
    const { bend, error, labels } = this.scene;
    const mine = this.role === "other" ? labels.other : labels.first;
    for (const name of mine) {
      this.planes.labels(Number(name.match(/\d/)[0]), this.facts.shape, await get(name, "arrayBuffer"));
    }
    if (this.role === "other") return;
    if (bend) this.planes.bend(bend.shape, await get(bend.file, "arrayBuffer"));
    if (error) {
      this.planes.error(this.facts.shape, await get(error.file, "arrayBuffer"));
      this.planes.number("end", error.end);
    }
  }

  at(frac) {
    return this.facts.shape.map((n, axis) => frac[axis] * n - 0.5);
  }

  show(at) {
    this.point = at;
    if (!this.planes) return;
    const frac = this.facts.shape.map((n, axis) => Math.min(Math.max((at[axis] + 0.5) / n, 0), 1));
    this.nv.scene.crosshairPos = frac;
    this.nv.drawScene();
  }

  // Left and right are those of the screen: the patient's right is at the left.
  step(event) {
    const steps = {
      ArrowRight: [-1, 0, 0], ArrowLeft: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
      PageUp: [0, 0, 1], PageDown: [0, 0, -1],
    };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const near = this.point.map((x, axis) => Math.round(x) + step[axis]);
    this.moved?.(this, near.map((x, axis) => Math.min(Math.max(x, 0), this.facts.shape[axis] - 1)));
  }
}

// Asks the server where a point lies. While an answer is awaited, only the last question counts.
class Points {
  constructor(told) {
    this.told = told;
    this.next = null;
    this.busy = false;
  }

  async ask(on, at) {
    this.next = [on, at];
    if (this.busy) return;
    this.busy = true;
    while (this.next) {
      const [image, [i, j, k]] = this.next;
      this.next = null;
      try {
        const found = await get(`point?${new URLSearchParams({ on: image, i, j, k })}`, "json");
        this.told(found, image);
      } catch (error) {
        tell(`The point could not be found: ${error.message}`, "failed");
      }
    }
    this.busy = false;
  }
}

function readout(found, names) {
  const mm = (values) => values.map((x) => x.toFixed(2)).join(", ");
  for (const role of ["first", "other"]) {
    const place = found[role];
    byId(`${role}-lps`).textContent = mm(place.lps);
    byId(`${role}-ras`).textContent = mm(place.ras);
    byId(`${role}-voxel`).textContent = place.voxel ? place.voxel.map((x) => x.toFixed(1)).join(", ") : "–";
    const value = place.value === null ? "outside" : String(Number(place.value.toPrecision(6)));
    byId(`${role}-value`).textContent = place.voxel ? value : "not shown";
  }
  const u = found.displacement;
  if (!u) return;
  const [left, back, up] = u.lps;
  const way = (x, plus, minus) => `${Math.abs(x).toFixed(2)} mm ${x >= 0 ? plus : minus}`;
  const parts = [way(left, "left", "right"), way(back, "posterior", "anterior"), way(up, "superior", "inferior")];
  let words = `Displacement from the ${names[0]} to the ${names[1]} image: ${u.mm.toFixed(2)} mm (${parts.join(", ")}).`;
  if (u.beyond_affine_mm !== null) words += ` Beyond the affine part: ${u.beyond_affine_mm.toFixed(2)} mm.`;
  if (found.expected_error_mm !== null) words += ` Expected error: ${found.expected_error_mm.toFixed(2)} mm.`;
  byId("displacement").textContent = words;
}

async function main() {
  if (!Niivue || !document.createElement("canvas").getContext("webgl2")) {
    throw new Error("this browser has no WebGL 2, or forbids it");
  }
  const scene = await get("scene.json", "json");
  const panes = { first: new Pane("first", scene.shown.second ? ["first", "second"] : ["first"], scene) };
  if (scene.shown.second) panes.second = new Pane("second", ["second"], scene);
  if (scene.shown.other) panes.other = new Pane("other", ["other"], scene);
  const open = () => Object.values(panes).filter((pane) => pane.planes);
  const draw = () => open().forEach((pane) => pane.nv.drawScene());
  const set = (name, value) => open().forEach((pane) => pane.planes.number(name, value));
  const firstName = byId("first-name").textContent;

  const axes = [...document.querySelectorAll(".axis")];
  const { shape } = scene.shown.first;
  axes.forEach((slider, axis) => {
    slider.max = shape[axis] - 1;
    slider.addEventListener("input", () => {
      const at = [...panes.first.point];
      at[axis] = Number(slider.value);
      go("first", at);
    });
  });

  const points = new Points((found, on) => {
    if (on === "first") panes.other?.show(found.other.at);
    else showFirst(found.first.at);
    readout(found, scene.names);
    axes.forEach((slider, axis) => {
      slider.setAttribute("aria-valuetext", `${found.first.ras[axis].toFixed(1)} mm, RAS`);
    });
    document.body.dataset.point = JSON.stringify(found);
  });
  function showFirst(at) {
    panes.first.show(at);
    panes.second?.show(at);
    axes.forEach((slider, axis) => (slider.value = at[axis]));
  }
  function go(on, at) {
    if (on === "other") panes.other.show(at);
    else showFirst(at);
    points.ask(on, at);
  }
  for (const pane of Object.values(panes)) {
    pane.moved = (from, at) => go(from.role === "other" ? "other" : "first", at);
  }

  const chosen = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;
  const box = (id) => byId(id)?.checked ?? false;
  const amount = (id) => Number(byId(id)?.value ?? 0);
  const slider = (id, seen) => byId(id) && (byId(id).closest(".slider").hidden = !seen);

  // everything that the controls say, at once
  function apply() {
    const mode = chosen("mode") ?? "first";
    slider("share", mode === "over");
    slider("tile", mode === "checker");
    slider("step", box("grid"));
    slider("veil", box("error"));
    for (const id of ["outlines", "grid", "error"]) {
      if (byId(`${id}-key`)) byId(`${id}-key`).hidden = !box(id);
    }
    for (const input of document.querySelectorAll("input[data-unit]")) {
      byId(`${input.id}-value`).textContent = `${input.value} ${input.dataset.unit}`;
    }
    set("pixels", globalThis.devicePixelRatio || 1);
    const part = { over: amount("share") / 100, checker: 0.5, second: 1 }[mode] ?? 0;
    set("share", part);
    set("checkered", mode === "checker");
    set("tile", amount("tile"));
    set("outlined", box("outlines"));
    set("bent", box("grid"));
    set("apart", amount("step") || 1);
    set("veil", box("error") ? amount("veil") / 100 : 0);
    panes.other?.planes?.number("bent", false);
    panes.other?.planes?.number("veil", 0);
    const { name } = scene.shown.first;
    byId("first-name").textContent = mode === "side" ? name[0].toUpperCase() + name.slice(1) : firstName;
    draw();
    return part;
  }
  // NiiVue blends both volumes anew for the 3-D picture, so this waits until a slider rests
  async function settle() {
    const mode = chosen("mode");
    if (byId("second")) {
      byId("second").hidden = mode !== "side";
      if (mode === "side" && !panes.second.planes) {
        await panes.second.open();
        planes();
      }
    }
    const part = apply();
    if (panes.first.roles.length > 1) panes.first.nv.setOpacity(1, part);
  }
  function planes() {
    open().forEach((pane) => pane.nv.setSliceType(Number(chosen("planes"))));
  }
  byId("controls").addEventListener("input", apply);
  byId("controls").addEventListener("change", (event) => {
    if (event.target.name === "planes") planes();
    else settle().catch((error) => tell(`The pictures cannot be shown: ${error.message}`, "failed"));
  });

  if (byId("step")) byId("step").value = scene.step_mm;
  panes.first.point = shape.map((n) => (n - 1) / 2);
  await Promise.all([panes.first.open(), panes.other?.open()]);
  await settle();
  go("first", shape.map((n) => Math.floor(n / 2)));
  tell("", "ready");
}

main().catch((error) => tell(`The images cannot be shown: ${error.message}`, "failed"));
