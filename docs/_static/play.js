/* Restores faces in the browser: degradations by the library's own matrices, networks by ONNX Runtime, scores as the studies compute them.
   Pictures are {side, rgb}: rgb a Float64Array of three planes in [0, 1]. */
window.lrPlay = (() => {
  "use strict";
  const N = 128;
  const given = new Map(); // what scripts have handed over: name -> ArrayBuffer
  const sessions = new Map();

  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const floats = (base64) => new Float32Array(bytes(base64).buffer);
  const script = (file) => new Promise((done, failed) => {
    const element = document.createElement("script");
    element.src = `_static/play/${file}`;
    element.onload = done;
    element.onerror = () => failed(new Error(`${file} cannot be loaded`));
    document.head.append(element);
  });

  window.lrGive = (name, packed) => { given.set(name, packed); };
  async function taken(name, file) {
    if (!given.has(name)) await script(file);
    const packed = bytes(given.get(name));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    given.delete(name);
    return new Response(plain).arrayBuffer();
  }

  /* left (m, n) @ plane (n, n) @ left.T, for each of the three planes */
  function sandwich(left, picture) {
    const n = picture.side;
    const m = left.length / n;
    const rgb = new Float64Array(3 * m * m);
    const half = new Float64Array(m * n);
    for (let c = 0; c < 3; c += 1) {
      half.fill(0);
      for (let i = 0; i < m; i += 1) {
        for (let k = 0; k < n; k += 1) {
          const weight = left[i * n + k];
          if (weight === 0) continue;
          for (let j = 0; j < n; j += 1) half[i * n + j] += weight * picture.rgb[(c * n + k) * n + j];
        }
      }
      for (let i = 0; i < m; i += 1) {
        for (let j = 0; j < m; j += 1) {
          let sum = 0;
          for (let k = 0; k < n; k += 1) sum += half[i * n + k] * left[j * n + k];
          rgb[(c * m + i) * m + j] = sum;
        }
      }
    }
    return { side: m, rgb };
  }

  const rounded = (picture) => ({
    side: picture.side,
    rgb: picture.rgb.map((v) => Math.floor(Math.min(Math.max(v, 0), 1) * 255 + 0.5) / 255),
  });

  function degrade(picture, setting, rounding = true) {
    const about = window.lrData.settings[setting];
    const round = rounding ? rounded : (same) => same;
    let small = round(sandwich(floats(about.down), picture));
    if (about.noise) {
      const noise = floats(about.noise);
      small = round({ side: small.side, rgb: small.rgb.map((v, i) => v + noise[i]) });
    }
    return small;
  }

  const bicubic = (small, setting) => sandwich(floats(window.lrData.settings[setting].up), small);

  async function runtime() {
    if (window.ort) return;
    await script("ort.js");
    const loader = new Blob([await taken("mjs", "runtime-mjs.js")], { type: "text/javascript" });
    window.ort.env.wasm.numThreads = 1;
    window.ort.env.wasm.wasmBinary = await taken("wasm", "runtime-wasm.js");
    window.ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(loader) };
  }

  async function session(setting, network) {
    const name = `${setting}/${network.method}`;
    if (!sessions.has(name)) {
      await runtime();
      const graph = new Uint8Array(await taken(name, network.file));
      sessions.set(name, await window.ort.InferenceSession.create(graph, { executionProviders: ["wasm"] }));
    }
    return sessions.get(name);
  }

  async function restore(small, setting, network) {
    const net = await session(setting, network);
    const lr = new window.ort.Tensor("float32", Float32Array.from(small.rgb), [1, 3, small.side, small.side]);
    const began = performance.now();
    const { sr } = await net.run({ lr });
    const ms = performance.now() - began;
    return { picture: { side: N, rgb: Float64Array.from(sr.data) }, ms };
  }

  function psnr(a, b) {
    let sum = 0;
    for (let i = 0; i < a.rgb.length; i += 1) sum += (a.rgb[i] - b.rgb[i]) ** 2;
    return -10 * Math.log10(sum / a.rgb.length);
  }

  /* Gaussian window of 11 pixels, sigma 1.5, only where it fits */
  function smooth(plane, n) {
    const taps = Array.from({ length: 11 }, (_, i) => Math.exp(-((i - 5) ** 2) / 4.5));
    const total = taps.reduce((a, b) => a + b);
    const m = n - 10;
    const half = new Float64Array(n * m);
    const out = new Float64Array(m * m);
    for (let i = 0; i < n; i += 1) {
      for (let j = 0; j < m; j += 1) {
        for (let k = 0; k < 11; k += 1) half[i * m + j] += taps[k] / total * plane[i * n + j + k];
      }
    }
    for (let i = 0; i < m; i += 1) {
      for (let j = 0; j < m; j += 1) {
        for (let k = 0; k < 11; k += 1) out[i * m + j] += taps[k] / total * half[(i + k) * m + j];
      }
    }
    return out;
  }

  function ssim(a, b) {
    const n = a.side;
    let sum = 0;
    let count = 0;
    for (let c = 0; c < 3; c += 1) {
      const [x, y] = [a, b].map((p) => p.rgb.subarray(c * n * n, (c + 1) * n * n));
      const [mx, my] = [smooth(x, n), smooth(y, n)];
      const [xx, yy, xy] = [[x, x], [y, y], [x, y]].map(([p, q]) => smooth(p.map((v, i) => v * q[i]), n));
      for (let i = 0; i < mx.length; i += 1) {
        const [vx, vy, cov] = [xx[i] - mx[i] ** 2, yy[i] - my[i] ** 2, xy[i] - mx[i] * my[i]];
        sum += (2 * mx[i] * my[i] + 1e-4) * (2 * cov + 9e-4) / ((mx[i] ** 2 + my[i] ** 2 + 1e-4) * (vx + vy + 9e-4));
      }
      count += mx.length;
    }
    return sum / count;
  }

  function toCanvas(picture) {
    const { side, rgb } = picture;
    const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
    const image = new ImageData(side, side);
    for (let i = 0; i < side * side; i += 1) {
      for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = Math.floor(Math.min(Math.max(rgb[c * side * side + i], 0), 1) * 255 + 0.5);
      image.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  function fromCanvas(canvas) {
    const side = canvas.width;
    const { data } = canvas.getContext("2d").getImageData(0, 0, side, side);
    const rgb = new Float64Array(3 * side * side);
    for (let i = 0; i < side * side; i += 1) for (let c = 0; c < 3; c += 1) rgb[c * side * side + i] = data[4 * i + c] / 255;
    return { side, rgb };
  }

  /* a square of a picture, as a canvas */
  async function part(uri, side, column = 0, row = 0) {
    const image = new Image();
    image.src = uri;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
    canvas.getContext("2d").drawImage(image, -column * side, -row * side);
    return canvas;
  }

  const rendered = async (i) => fromCanvas(await part(window.lrData.faces[i], N));

  return { bicubic, degrade, fromCanvas, part, psnr, rendered, restore, rounded, script, ssim, toCanvas, N };
})();

addEventListener("DOMContentLoaded", () => {
  "use strict";
  const play = window.lrPlay;
  const $ = (id) => document.getElementById(id);
  const status = (text) => { $("lr-status").textContent = text; };
  let chosen = 0; // a rendered face, "photo" or "capture"
  let shot = null; // a capture, as a canvas
  let photo = null; // {image, x, y}: the middle of the square, in its pixels

  window.lrData.faces.forEach((uri, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(Object.assign(new Image(), { src: uri, alt: `rendered face ${i + 1}`, width: 72, height: 72 }));
    button.onclick = () => take(i);
    $("lr-faces").append(button);
  });
  function take(what) {
    chosen = what;
    [...$("lr-faces").children].forEach((button, i) => button.setAttribute("aria-pressed", i === what));
  }
  take(0);

  for (const [name, about] of Object.entries(window.lrData.settings)) $("lr-setting").append(new Option(about.title, name));
  $("lr-setting").value = "4x";
  function methods() {
    const boxes = window.lrData.networks[$("lr-setting").value].map((network) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true, value: network.method });
      const label = document.createElement("label");
      label.append(box, ` ${network.method}`);
      return label;
    });
    $("lr-methods").replaceChildren($("lr-methods").querySelector("legend"), ...boxes);
  }
  $("lr-setting").onchange = methods;
  methods();

  /* a photograph: the square that is taken is moved and enlarged */
  const side = () => Math.min(photo.image.width, photo.image.height) / Number($("lr-crop-zoom").value);
  function square(size) {
    const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(photo.image, photo.x - side() / 2, photo.y - side() / 2, side(), side(), 0, 0, size, size);
    return canvas;
  }
  function draw() {
    const half = side() / 2;
    photo.x = Math.min(Math.max(photo.x, half), photo.image.width - half);
    photo.y = Math.min(Math.max(photo.y, half), photo.image.height - half);
    $("lr-crop").getContext("2d").drawImage(square(256), 0, 0);
  }
  async function open(file) {
    if (!file) return;
    try {
      const image = await createImageBitmap(file);
      photo = { image, x: image.width / 2, y: image.height / 2 };
    } catch {
      status(`${file.name} is no picture that this browser can read.`);
      return;
    }
    $("lr-crop-box").hidden = false;
    $("lr-crop-zoom").value = 1;
    take("photo");
    draw();
    status("");
  }
  $("lr-file").onchange = (event) => open(event.target.files[0]);
  $("lr-drop").ondragover = (event) => event.preventDefault();
  $("lr-drop").ondrop = (event) => { event.preventDefault(); open(event.dataTransfer.files[0]); };
  $("lr-crop-zoom").oninput = draw;
  $("lr-crop").onpointerdown = (event) => $("lr-crop").setPointerCapture(event.pointerId);
  $("lr-crop").onpointermove = (event) => {
    if (!event.buttons) return;
    photo.x -= event.movementX * side() / 256;
    photo.y -= event.movementY * side() / 256;
    draw();
  };
  $("lr-crop").onkeydown = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    photo.x += step[0] * side() / 32;
    photo.y += step[1] * side() / 32;
    draw();
  };

  async function run() {
    const setting = $("lr-setting").value;
    const native = chosen === "capture" || (chosen === "photo" && $("lr-native").checked);
    const wanted = [...$("lr-methods").querySelectorAll("input:checked")].map((box) => box.value);
    const networks = window.lrData.networks[setting].filter((network) => wanted.includes(network.method));
    let truth = null;
    let small;
    if (native) {
      const size = play.N / window.lrData.settings[setting].scale;
      if (chosen === "capture" && shot.width !== size) throw new Error(`the capture has ${shot.width} pixels, ${setting} wants ${size}`);
      small = play.fromCanvas(chosen === "capture" ? shot : square(size));
    } else {
      truth = chosen === "photo" ? play.fromCanvas(square(play.N)) : await play.rendered(chosen);
      small = play.degrade(truth, setting);
    }
    const item = (name, picture, ms) => {
      const saved = play.rounded(picture); // scores are of what a file would hold
      const scores = truth && picture.side === play.N ? [`${play.psnr(saved, truth).toFixed(2)} dB`, `SSIM ${play.ssim(saved, truth).toFixed(3)}`] : [];
      const took = ms === undefined ? [] : [`${ms.toFixed(0)} ms`];
      return { name, picture: play.toCanvas(saved), psnr: scores.length ? play.psnr(saved, truth) : 0, note: [...scores, ...took].join(" · ") };
    };
    const items = [item("small face", small), item("bicubic", play.bicubic(small, setting))];
    for (const network of networks) {
      status(`${network.method} …`);
      await new Promise((shown) => { setTimeout(shown); });
      const { picture, ms } = await play.restore(small, setting, network);
      items.push(item(network.method, picture, ms));
    }
    if (truth) items.push({ name: "truth", picture: play.toCanvas(truth), note: "" });
    window.lrCompare($("lr-results"), items);
    status(`Done: ${networks.length} networks, all in this browser.`);
  }
  async function go() {
    $("lr-go").disabled = true;
    try {
      await run();
    } catch (error) {
      status(`It could not be restored: ${error.message}.`);
    }
    $("lr-go").disabled = false;
  }
  $("lr-go").onclick = go;

  /* the poor camera: every position of the controls is a picture that the library took */
  async function capture() {
    const camera = window.lrCamera;
    const [exposure, noise, jpeg] = ["exposure", "noise", "jpeg"].map((name) => Number($(`lr-${name}`).value));
    const height = Number($("lr-height").value);
    const moment = camera.moments[$("lr-moment").value];
    $("lr-exposure-says").textContent = `× ${camera.exposure[exposure]}`;
    $("lr-noise-says").textContent = noise ? `${camera.noise[noise]} electrons at white` : "none";
    $("lr-jpeg-says").textContent = jpeg ? `JPEG ${camera.jpeg[jpeg]}` : "none";
    const column = ($("lr-bayer").checked ? camera.jpeg.length : 0) + jpeg;
    shot = await play.part(moment.sheets[height], height, column, exposure * camera.noise.length + noise);
    const shots = [["good camera", moment.truth], ["down-sampled", moment.small[height]], ["poor camera", shot.toDataURL()]];
    $("lr-shots").replaceChildren(...shots.map(([name, uri]) => {
      const item = document.createElement("li");
      const frame = Object.assign(document.createElement("div"), { className: "lr-window" });
      frame.append(Object.assign(new Image(), { src: uri, alt: name }));
      item.append(frame, Object.assign(document.createElement("b"), { textContent: name }));
      return item;
    }));
  }
  $("lr-camera").ontoggle = async () => {
    if (window.lrCamera) return;
    await play.script("camera.js");
    const camera = window.lrCamera;
    camera.moments.forEach((_, i) => $("lr-moment").append(new Option(`moment ${i + 1}`, i)));
    for (const height of Object.keys(camera.heights).sort((a, b) => b - a)) $("lr-height").append(new Option(height));
    for (const name of ["exposure", "noise", "jpeg"]) $(`lr-${name}`).max = camera[name].length - 1;
    $("lr-exposure").value = camera.exposure.indexOf(1);
    for (const control of $("lr-camera").querySelectorAll("input, select")) control.oninput = capture;
    await capture();
  };
  $("lr-take").onclick = async () => {
    $("lr-setting").value = window.lrCamera.heights[$("lr-height").value];
    methods();
    take("capture");
    $("lr-step-3").scrollIntoView();
    await go();
  };
});
