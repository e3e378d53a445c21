/* What the page shows: curves of an activation, and two networks as they train. */
"use strict";

(() => {
  const [NETWORKS, STEPS, RECORD_EVERY] = [["plain", "accelerated"], 3000, 25];
  const CLASSES = [[0, 137, 123], [194, 24, 91]]; // the colours of the spirals
  const find = (id) => document.getElementById(`playground-${id}`);
  const percent = (share) => `${Math.round(100 * share)} %`;
  const isStuck = (now) => !isFinite(now.loss) || now.saturation.map(percent).includes("100 %");
  const scoreOf = (now) =>
    percent(now.accuracy) + (isStuck(now) && percent(now.accuracy) === "50 %" ? ", failed" : "");

  let [settings, running] = [Derivatives.startOf("tanh"), false];
  let functions, trial, step, history, nextFrame;

  /* Draws lines of points [x, y] into an SVG; the ticks' ends are those of the axes. */
  function chart(id, xTicks, yTicks, lines) {
    const [left, right, top, bottom] = [34, 348, 10, 186];
    const scale = (ticks, from, to) => (each) =>
      from + ((each - ticks[0]) / (ticks.at(-1) - ticks[0])) * (to - from);
    const [x, y] = [scale(xTicks, left, right), scale(yTicks, bottom, top)];
    const inside = (each) => Math.min(Math.max(each, yTicks[0]), yTicks.at(-1));
    const grid = [
      ...xTicks.map((t) => `<path d="M${x(t)} ${top}V${bottom}"/>
        <text x="${x(t)}" y="${bottom + 16}" text-anchor="middle">${t}</text>`),
      ...yTicks.map((t) => `<path d="M${left} ${y(t)}H${right}"/>
        <text x="${left - 6}" y="${y(t) + 4}" text-anchor="end">${t}</text>`),
    ];
    const paths = lines.map(([name, points]) => {
      const at = points.map((p) => `${x(p[0]).toFixed(2)} ${y(inside(p[1])).toFixed(2)}`);
      return `<path class="playground-line playground-${name}" d="M${at.join("L")}"/>`;
    });
    find(id).innerHTML = `<g class="playground-grid">${grid.join("")}</g>${paths.join("")}`;
  }

  /* Round numbers from below the smallest of some values to above the largest. */
  function ticksFor(values) {
    const [low, high] = [Math.min(...values, 0), Math.max(...values, 1)];
    const spacing = [0.5, 1, 2, 5].find((each) => (high - low) / each <= 6);
    const [first, last] = [Math.floor(low / spacing + 1e-9), Math.ceil(high / spacing - 1e-9)];
    return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * spacing);
  }

  function drawCurves() {
    const at = Array.from({ length: 961 }, (_, i) => (i - 480) / 80);
    const points = (f) => at.map((x) => [x, f(x)]);
    const { value, plain, accelerated } = functions;
    const xTicks = [-6, -4, -2, 0, 2, 4, 6];
    chart("value", xTicks, ticksFor(at.map(value)), [["accelerated", points(value)]]);
    chart("derivative", xTicks, ticksFor([...at.map(plain), ...at.map(accelerated)]), [
      ["plain", points(plain)],
      ["accelerated", points(accelerated)],
    ]);
    find("python").querySelector("code").textContent = Derivatives.pythonOf(settings);
  }

  /* Shows the settings, and sliders for the parameters that the shape function has. */
  function showControls() {
    find("activation").value = settings.activation;
    find("shape").value = settings.shape;
    find("gain").checked = settings.unitGain;
    const ranges = { ...Derivatives.shapes[settings.shape].parameters, strength: [0, 2, 0.05] };
    find("sliders").innerHTML = Object.entries(ranges)
      .map(([name, [smallest, largest, step]]) => `<label>
        <span>${name} <b></b></span>
        <input type="range" name="${name}" min="${smallest}" max="${largest}" step="${step}">
        </label>`)
      .join("");
    for (const slider of find("sliders").querySelectorAll("input")) {
      slider.value = settings.parameters[slider.name] ?? settings.strength;
      showNumber(slider);
    }
  }

  function showNumber(slider) {
    slider.closest("label").querySelector("b").textContent = slider.value;
  }

  function changed() {
    functions = Derivatives.functionsOf(settings);
    drawCurves();
    reset();
  }

  /* The two networks as they begin. */
  function reset() {
    const number = (id) => Number(find(id).value);
    const chosen = { seed: number("seed"), depth: number("depth") };
    trial = Networks.start({ ...chosen, scale: number("scale"), rate: number("rate") }, functions);
    [step, history] = [0, []];
    record();
  }

  function record() {
    history.push({ step, ...Object.fromEntries(NETWORKS.map((n) => [n, trial.evaluate(n)])) });
    draw();
  }

  /* The colours that a network gives to the square around the spirals, and the points. */
  function drawRegions(name) {
    const canvas = find(`regions-${name}`);
    const [context, cells] = [canvas.getContext("2d"), 60];
    const image = new ImageData(cells, cells);
    for (let i = 0; i < cells * cells; i++) {
      const [column, row] = [i % cells, Math.floor(i / cells)];
      const x = [(2.4 * (column + 0.5)) / cells - 1.2, 1.2 - (2.4 * (row + 0.5)) / cells];
      const certainty = Math.tanh(trial.logitAt(name, x) / 2); // from -1 to 1
      image.data.set([...CLASSES[certainty > 0 ? 1 : 0], 130 * Math.abs(certainty)], 4 * i);
    }
    const small = new OffscreenCanvas(cells, cells);
    small.getContext("2d").putImageData(image, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    context.lineWidth = 1;
    context.strokeStyle = "#fff";
    for (const { x, label } of trial.train) {
      const place = [1 + x[0] / 1.2, 1 - x[1] / 1.2].map((each) => (each * canvas.width) / 2);
      context.fillStyle = `rgb(${CLASSES[label]})`;
      context.beginPath();
      context.arc(...place, 4.5, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }

  function drawSaturation() {
    const now = history.at(-1);
    const bar = (name, l) => {
      const share = now[name].saturation[l];
      return `<i class="playground-bar playground-${name}" style="--share: ${share}"></i>
        <span>${percent(share)}</span>`;
    };
    find("saturation").innerHTML = now.plain.saturation
      .map((_, l) => `<li>Layer ${l + 1}<div>${bar("plain", l)}${bar("accelerated", l)}</div></li>`)
      .join("");
  }

  function draw() {
    const now = history.at(-1);
    for (const quantity of ["loss", "accuracy"]) {
      const points = (name) => history.map((each) => [each.step, each[name][quantity]]);
      const lines = NETWORKS.map((name) => [name, points(name).filter((p) => isFinite(p[1]))]);
      chart(quantity, [0, 1000, 2000, STEPS], [0, 0.25, 0.5, 0.75, 1], lines);
    }
    for (const name of NETWORKS) {
      drawRegions(name);
      find(`accuracy-${name}`).textContent = scoreOf(now[name]);
    }
    drawSaturation();
    find("step").textContent = `Step ${step} of ${STEPS}`;
    find("train").textContent = running ? "Pause" : step < STEPS ? "Train" : "Train again";
  }

  /* Trains for a part of a frame, up to the next record, and draws that. */
  function frame() {
    if (!running) return;
    const began = performance.now();
    do {
      trial.step();
      step += 1;
    } while (step % RECORD_EVERY > 0 && performance.now() - began < 12);
    running = step < STEPS;
    if (step % RECORD_EVERY === 0) record();
    proceed();
  }

  function proceed() {
    cancelAnimationFrame(nextFrame);
    nextFrame = requestAnimationFrame(frame);
  }

  function toggle() {
    if (!running && step >= STEPS) reset();
    running = !running;
    draw();
    proceed();
  }

  for (const name of Object.keys(Derivatives.activations)) find("activation").add(new Option(name));
  for (const [name, { about }] of Object.entries(Derivatives.shapes))
    find("shape").add(new Option(about ? `${name} – ${about}` : name, name));
  find("activation").addEventListener("change", (event) => {
    settings = Derivatives.startOf(event.target.value);
    showControls();
    changed();
  });
  find("shape").addEventListener("change", (event) => {
    settings = Derivatives.withShape(settings, event.target.value);
    showControls();
    changed();
  });
  find("sliders").addEventListener("input", ({ target }) => {
    if (target.name === "strength") settings.strength = Number(target.value);
    else settings.parameters[target.name] = Number(target.value);
    showNumber(target);
    changed();
  });
  find("gain").addEventListener("change", (event) => {
    settings.unitGain = event.target.checked;
    changed();
  });
  for (const id of ["seed", "depth", "scale", "rate"]) find(id).addEventListener("change", reset);
  find("train").addEventListener("click", toggle);
  find("reset").addEventListener("click", () => {
    running = false;
    reset();
  });
  showControls();
  changed();
})();
