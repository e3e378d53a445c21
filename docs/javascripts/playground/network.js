/* Two small networks that differ in the derivative of their activation, and their training. */
"use strict";

const Networks = (() => {
  const SATURATED = 0.07; // the derivative of tanh at 2, as in the package
  const [POINTS, BATCH, UNITS] = [300, 32, 16];

  /* Numbers in [0, 1) that follow from a seed (mulberry32). */
  function randomFrom(seed) {
    let state = (seed + 1) * 0x9e3779b9;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  const normal = (random) =>
    Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

  /* Points on two spirals: x, and the label of the spiral, 0 or 1. */
  function spirals(random) {
    return Array.from({ length: POINTS }, (_, i) => {
      const [label, radius] = [i % 2, Math.sqrt(random())];
      const angle = 3 * Math.PI * radius + Math.PI * label;
      const at = [radius * Math.cos(angle), radius * Math.sin(angle)];
      return { x: at.map((each) => each + 0.02 * normal(random)), label };
    });
  }

  /* Layers whose weights have the standard deviation scale / sqrt(inputs), and biases 0. */
  function layersOf(sizes, scale, random) {
    return sizes.slice(1).map((outputs, l) => {
      const inputs = sizes[l];
      const draw = () => (scale / Math.sqrt(inputs)) * normal(random);
      const weights = Float64Array.from({ length: inputs * outputs }, draw);
      return { inputs, outputs, weights, biases: new Float64Array(outputs) };
    });
  }

  const copyOf = (layers) =>
    layers.map((layer) => ({
      ...layer,
      weights: layer.weights.slice(),
      biases: layer.biases.slice(),
    }));

  /* What enters each layer, and its pre-activations; those of the last are the logit. */
  function forward(layers, x, value) {
    const [inputs, preActivations] = [[x], []];
    layers.forEach((layer, l) => {
      const sums = layer.biases.slice();
      for (let j = 0; j < layer.outputs; j++)
        for (let i = 0; i < layer.inputs; i++)
          sums[j] += layer.weights[j * layer.inputs + i] * inputs[l][i];
      preActivations.push(sums);
      inputs.push(sums.map(value));
    });
    return { inputs, preActivations, logit: preActivations.at(-1)[0] };
  }

  const lossOf = (logit, label) =>
    Math.max(logit, 0) - logit * label + Math.log1p(Math.exp(-Math.abs(logit)));

  /* The gradients of the mean loss of a batch, by backpropagation with a derivative. */
  function gradientsOf(layers, batch, value, derivative) {
    const gradients = layers.map((layer) => ({
      weights: new Float64Array(layer.weights.length),
      biases: new Float64Array(layer.outputs),
    }));
    for (const { x, label } of batch) {
      const { inputs, preActivations, logit } = forward(layers, x, value);
      let upstream = [(1 / (1 + Math.exp(-logit)) - label) / batch.length];
      for (let l = layers.length - 1; l >= 0; l--) {
        const layer = layers[l];
        const below = new Float64Array(layer.inputs);
        for (let j = 0; j < layer.outputs; j++) {
          gradients[l].biases[j] += upstream[j];
          for (let i = 0; i < layer.inputs; i++) {
            gradients[l].weights[j * layer.inputs + i] += upstream[j] * inputs[l][i];
            below[i] += upstream[j] * layer.weights[j * layer.inputs + i];
          }
        }
        if (l > 0) upstream = below.map((each, i) => each * derivative(preActivations[l - 1][i]));
      }
    }
    return gradients;
  }

  /* Plain and accelerated, from the same weights; each step has the same batch for both. */
  function start({ seed, depth, scale, rate }, { value, plain, accelerated }) {
    const random = randomFrom(seed);
    const [train, heldOut] = [spirals(random), spirals(random)];
    const layers = layersOf([2, ...Array(depth).fill(UNITS), 1], scale, random);
    const networks = { plain: layers, accelerated: copyOf(layers) };
    const derivatives = { plain, accelerated };

    function step() {
      const batch = Array.from({ length: BATCH }, () => train[Math.floor(random() * POINTS)]);
      for (const [name, layers] of Object.entries(networks)) {
        const gradients = gradientsOf(layers, batch, value, derivatives[name]);
        layers.forEach((layer, l) => {
          for (const part of ["weights", "biases"])
            gradients[l][part].forEach((each, k) => (layer[part][k] -= rate * each));
        });
      }
    }

    /* Loss, accuracy on the points held out, and the saturated share of each hidden layer. */
    function evaluate(name) {
      const saturation = Array(depth).fill(0);
      let [loss, accuracy] = [0, 0];
      for (const { x, label } of train) {
        const { preActivations, logit } = forward(networks[name], x, value);
        loss += lossOf(logit, label) / POINTS;
        for (let l = 0; l < depth; l++)
          for (const each of preActivations[l])
            if (plain(each) < SATURATED) saturation[l] += 1 / UNITS / POINTS;
      }
      for (const { x, label } of heldOut)
        if (forward(networks[name], x, value).logit > 0 === (label === 1)) accuracy += 1 / POINTS;
      return { loss, accuracy, saturation };
    }

    const logitAt = (name, x) => forward(networks[name], x, value).logit;
    return { train, step, evaluate, logitAt };
  }

  return { randomFrom, spirals, layersOf, forward, lossOf, gradientsOf, start };
})();
