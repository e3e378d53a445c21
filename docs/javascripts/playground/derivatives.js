/* Activations and shape functions, and the line of Python that gives the same. */
"use strict";

const Derivatives = (() => {
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const gaussian = (x, width) => Math.exp(-((x / width) ** 2));
  const shiftedSigmoid = (x, slope, shift) => sigmoid(slope * (x + shift));

  // At a kink the derivative is that of the flatter side, as in the package. `start` is the
  // default shape function: its name, its parameters and, if it is not 1, the strength.
  const activations = {
    tanh: {
      value: Math.tanh,
      derivative: (x) => 1 - Math.tanh(x) ** 2,
      start: ["gaussian", { width: 2 }],
    },
    relu: {
      value: (x) => Math.max(x, 0),
      derivative: (x) => (x > 0 ? 1 : 0),
      start: ["shifted_sigmoid", { slope: 5, shift: 0.5 }],
    },
    sigmoid: {
      value: sigmoid,
      derivative: (x) => sigmoid(x) * sigmoid(-x),
      start: ["gaussian", { width: 4 }, 0.25],
    },
    hard_tanh: {
      value: (x) => Math.min(Math.max(x, -1), 1),
      derivative: (x) => (Math.abs(x) < 1 ? 1 : 0),
      start: ["gaussian", { width: 2 }],
    },
    softsign: {
      value: (x) => x / (1 + Math.abs(x)),
      derivative: (x) => 1 / (1 + Math.abs(x)) ** 2,
      start: ["gaussian", { width: 2.75 }],
    },
    leaky_relu: {
      value: (x) => (x > 0 ? x : 0.2 * x),
      derivative: (x) => (x > 0 ? 1 : 0.2),
      start: ["shifted_sigmoid", { slope: 5, shift: 0.5 }],
    },
    elu: {
      value: (x) => (x > 0 ? x : Math.expm1(x)),
      derivative: (x) => (x < 0 ? Math.exp(x) : 1),
      start: ["shifted_sigmoid", { slope: 5, shift: 3.2 }],
    },
    softplus: {
      value: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
      derivative: sigmoid,
      start: ["shifted_sigmoid", { slope: 5, shift: 3.1 }],
    },
    silu: {
      value: (x) => x * sigmoid(x),
      derivative: (x) => sigmoid(x) * (1 + x * sigmoid(-x)),
      start: ["shifted_sigmoid", { slope: 5, shift: 1.5 }],
    },
  };

  // Each parameter: smallest, largest, step, default. `added` is s(x). Where a shape is
  // defined by the `total` derivative instead, s(x) is that minus phi'(x).
  const width = [0.25, 8, 0.25, 2];
  const step = { slope: [0.5, 20, 0.5, 5], shift: [-2, 4, 0.1, 0.5] };
  const shapes = {
    gaussian: { parameters: { width }, added: gaussian },
    shifted_sigmoid: { parameters: step, added: shiftedSigmoid },
    "one_sided(gaussian)": {
      parameters: { width },
      added: (x, width) => (x <= 0 ? gaussian(x, width) : 0),
    },
    "one_sided(shifted_sigmoid)": {
      parameters: step,
      added: (x, slope, shift) => (x <= 0 ? shiftedSigmoid(x, slope, shift) : 0),
    },
    constant: {
      about: "flat spot",
      parameters: { value: [0, 1, 0.05, 0.1] },
      added: (x, value) => value,
    },
    "from_derivative(gaussian)": {
      about: "a gaussian alone",
      parameters: { width },
      total: gaussian,
    },
    b_silu: {
      about: "SUGAR",
      parameters: { alpha: [0, 4, 0.01, 1.67] },
      total: (x, alpha) => sigmoid(x) * (1 + (x + alpha) * sigmoid(-x)),
    },
    nelu: {
      about: "SUGAR",
      parameters: { alpha: [0, 1, 0.05, 0.1] },
      total: (x, alpha) => (x > 0 ? 1 : (2 * alpha * x) / (1 + x * x) ** 2),
    },
    helu: {
      about: "hysteresis",
      parameters: { alpha: [0, 3, 0.1, 0.5] },
      total: (x, alpha) => (x > -alpha ? 1 : 0),
    },
    leaky: {
      about: "ProxyGrad",
      parameters: { slope: [0, 1, 0.05, 0.3] },
      total: (x, slope) => (x > 0 ? 1 : slope),
    },
    straight_through: { parameters: {}, total: () => 1 },
  };

  /* The default shape function of an activation, as settings. */
  function startOf(activation) {
    const [shape, parameters, strength = 1] = activations[activation].start;
    return { activation, shape, parameters: { ...parameters }, strength, unitGain: false };
  }

  /* A shape function with its default parameters; the activation's own ones if it has any. */
  function withShape(settings, shape) {
    const start = startOf(settings.activation);
    if (shape === start.shape) return { ...start, unitGain: settings.unitGain };
    const ranges = Object.entries(shapes[shape].parameters);
    const parameters = Object.fromEntries(ranges.map(([name, range]) => [name, range[3]]));
    return { ...settings, shape, parameters, strength: 1 };
  }

  /* The largest magnitude of a function, found on ever finer grids. */
  function supremum(f) {
    let [best, at] = [0, 0];
    for (const [half, spacing] of [[60, 2e-3], [2e-3, 1e-5], [1e-5, 1e-8]]) {
      const [middle, count] = [at, Math.round(half / spacing)];
      for (let k = -count; k <= count; k++) {
        const size = Math.abs(f(middle + k * spacing));
        if (size > best) [best, at] = [size, middle + k * spacing];
      }
    }
    return best;
  }

  /* The value of an activation, and its plain and accelerated derivatives. */
  function functionsOf({ activation, shape, parameters, strength, unitGain }) {
    const { value, derivative: plain } = activations[activation];
    const { parameters: names, added, total } = shapes[shape];
    const numbers = Object.keys(names).map((name) => parameters[name]);
    const shapeFunction = added
      ? (x) => added(x, ...numbers)
      : (x) => total(x, ...numbers) - plain(x);
    const sum = (x) => plain(x) + strength * shapeFunction(x);
    const gain = unitGain ? Math.min(1, supremum(plain) / supremum(sum)) : 1;
    return { value, plain, accelerated: (x) => gain * sum(x) };
  }

  /* The line of Python that makes this activation. */
  function pythonOf({ activation, shape, parameters, strength, unitGain }) {
    const list = Object.entries(parameters).map(([name, value]) => `${name}=${value}`);
    const call = list.length ? `(${list.join(", ")})` : "";
    const inner = shape.endsWith(")") ? `${shape.slice(0, -1)}${call})` : shape + call;
    const others = strength === 1 ? "" : `, strength=${strength}`;
    return `GAAF("${activation}", "${inner}"${others}${unitGain ? ", unit_gain=True" : ""})`;
  }

  return { activations, shapes, startOf, withShape, functionsOf, pythonOf };
})();
