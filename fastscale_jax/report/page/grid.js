// What the page knows of networks: looked up, and written as commands take it.
// A choice is a base, a strategy and the index of a factor of that base.
"use strict";
const Grid = (() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const at = Object.fromEntries(data.fields.map((name, index) => [name, index]));
  const bases = new Map(data.bases.map((base) => [base.key, base]));
  const DEFAULT = { base: data.bases[0].key, strategy: "dWr", factor: 10 };

  const UNITS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

  // The unit of an amount, and its letter.
  function unit(amount) {
    return UNITS.find(([size]) => amount >= size) || [1, ""];
  }

  const factors = (choice) => bases.get(choice.base).factors;
  const factor = (choice) => factors(choice)[choice.index];

  // A network's figures by name: `depths`, `flops` and so on.
  function network(choice) {
    const row = data.networks[choice.base][choice.strategy][choice.index];
    return Object.fromEntries(data.fields.map((name) => [name, row[at[name]]]));
  }

  // All networks of a strategy, small to large.
  function curve(choice, strategy) {
    return factors(choice).map((_, index) => ({ ...choice, strategy, index }));
  }

  function nearest(base, wanted) {
    const away = (each) => Math.abs(Math.log(each / wanted));
    const all = bases.get(base).factors;
    return all.reduce((best, each, index) => (away(each) < away(all[best]) ? index : best), 0);
  }

  function choice(base, strategy, wanted) {
    return { base, strategy, index: nearest(base, wanted) };
  }

  // As commands take it; the base itself where nothing is scaled.
  function variant(choice) {
    return factor(choice) === 1 ? choice.base : address(choice);
  }

  // As a link has it: with the strategy also where nothing is scaled, so that a view comes back.
  function address(choice) {
    return `${choice.base}_${choice.strategy}_x${factor(choice)}`;
  }

  // The choice of an address or a variant; null: the page has no such network.
  function parsed(text) {
    const match = /^([^_]+)(?:_(.+)_x([0-9.]+))?$/.exec(text);
    if (!match || !bases.has(match[1])) return null;
    const strategy = match[2] || DEFAULT.strategy;
    const wanted = Number(match[3] || 1);
    if (!Object.hasOwn(data.networks[match[1]], strategy) || !(wanted > 0)) return null;
    return choice(match[1], strategy, wanted);
  }

  // What `fastscale info --format=json` prints.
  function info(choice) {
    const { depths, widths, group_widths, resolution, stem_width, head_width, ...costs } = network(choice);
    const { flops, params, acts } = costs;
    const base = bases.get(choice.base);
    const name = (text) => text.replace(":", "-");
    let scale = null;
    if (factor(choice) !== 1) {
      const [d, w, g, r] = data.multipliers[choice.strategy][String(factor(choice))];
      const of = { base: name(base.key), strategy: choice.strategy, factor: factor(choice) };
      scale = { ...of, d, w, g: base.scales_groups ? g : 1, r };
    }
    return {
      name: name(variant(choice)), resolution, stem_width, depths, widths, group_widths, head_width,
      flops, params, acts, scale,
    };
  }

  // Named strategies, and the alphas that were chosen.
  function compared(choices) {
    return [...new Set([...data.strategies, ...choices.map((choice) => choice.strategy)])];
  }

  function isAlpha(strategy) {
    return !data.strategies.includes(strategy);
  }

  function title(strategy) {
    return isAlpha(strategy) ? `α = ${strategy.slice(1)}` : strategy;
  }

  // The network in words, and its name in the paper if it has one.
  function name(choice) {
    const base = bases.get(choice.base).name;
    const scaled = factor(choice) === 1 ? "" : ` scaled by ${title(choice.strategy)}, s = ${factor(choice)}`;
    const row = data.rows[rowKey(choice)];
    const inPaper = row && row !== base ? ` (in the paper: ${row.replace("->", "→")})` : "";
    return base + scaled + inPaper;
  }

  // an alpha that has a name is that strategy
  function rowKey(choice) {
    return variant({ ...choice, strategy: { "a0.8": "dWr" }[choice.strategy] || choice.strategy });
  }

  // The reader's file of a target's programs: a file of results is of one device.
  function fileOf(target) {
    return `programs-${target.replace(/[^a-z0-9.]+/gi, "-")}.jsonl`;
  }

  // The command that adds a network to that file, in the setting of the others.
  function compiling(choice, target) {
    const scaled = factor(choice) === 1 ? "" : ` --strategies=${choice.strategy}`;
    return `fastscale curves --target=${target} --bases=${choice.base}${scaled} --factors=${factor(choice)} --results=${fileOf(target)}`;
  }

  // By setting (a target with a type and a batch) what is known of a network there.
  function programs(choice) {
    const known = data.programs.networks[variant(choice)] || [];
    const named = known.map((row) => Object.fromEntries(data.programs.fields.map((name, i) => [name, row[i]])));
    return new Map(named.map((figures) => [figures.setting, figures]));
  }

  return {
    DEFAULT, data, bases, factors, factor, network, curve, choice, variant, address, parsed, info,
    compared, isAlpha, title, name, fileOf, compiling, programs, unit,
  };
})();
