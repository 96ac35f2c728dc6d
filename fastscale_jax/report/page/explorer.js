// The explorer: controls choose one network or two, and everything follows.
"use strict";
(() => {
  const element = (name) => document.getElementById(`explorer-${name}`);
  const LETTERS = ["a", "b"];
  const state = { a: Grid.choice(Grid.DEFAULT.base, Grid.DEFAULT.strategy, Grid.DEFAULT.factor), b: null };

  function say(words) {
    element("said").textContent = words;
  }

  // The choice that a side's controls stand at.
  function chosen(letter) {
    const part = (name) => element(`${letter}-${name}`);
    const picked = part("strategy").value;
    const alpha = `a${Number(part("alpha").value) / 10}`;
    return {
      base: part("base").value,
      strategy: picked === "alpha" ? alpha : picked,
      index: Number(part("factor").value),
    };
  }

  // Moves a side's controls to a choice.
  function setControls(letter, choice) {
    const part = (name) => element(`${letter}-${name}`);
    const factors = Grid.factors(choice);
    const isAlpha = Grid.isAlpha(choice.strategy);
    part("base").value = choice.base;
    part("strategy").value = isAlpha ? "alpha" : choice.strategy;
    if (isAlpha) part("alpha").value = String(Math.round(10 * Number(choice.strategy.slice(1))));
    part("alpha").closest("label").hidden = !isAlpha;
    part("alpha-value").textContent = (Number(part("alpha").value) / 10).toFixed(1);
    part("factor").max = String(factors.length - 1);
    part("factor").value = String(choice.index);
    part("factor").disabled = factors.length < 2;
    part("alpha").setAttribute("aria-valuetext", `α = ${part("alpha-value").textContent}`);
    part("factor").setAttribute("aria-valuetext", `s = ${Grid.factor(choice)}`);
    part("factor-value").textContent = factors.length < 2 ? "1 (the paper scales others)" : String(Grid.factor(choice));
  }

  function command(choice) {
    return `fastscale info ${Grid.variant(choice)}`;
  }

  // JSON with spaces, as Python writes it.
  function spaced(value) {
    if (value === null || typeof value !== "object") return JSON.stringify(value);
    if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
    return `{${Object.entries(value).map(pair).join(", ")}}`;
  }

  function pair([key, value]) {
    return `${JSON.stringify(key)}: ${spaced(value)}`;
  }

  function json(choice) {
    const lines = Object.entries(Grid.info(choice)).map((each) => `  ${pair(each)}`);
    return `{\n${lines.join(",\n")}\n}`;
  }

  function showSide({ letter, choice, network }) {
    const part = (name) => element(`${letter}-${name}`);
    setControls(letter, choice);
    part("name").textContent = Grid.name(choice);
    for (const cost of ["flops", "params", "acts"]) Tables.show(part(cost), network[cost]);
    part("resolution").textContent = `${network.resolution} px`;
    if (Grid.data.device) Tables.showTime(part("step"), network);
    part("variant").textContent = Grid.variant(choice);
    part("command").textContent = command(choice);
    part("json").textContent = json(choice);
  }

  function showChart(sides) {
    const [{ choice }] = sides;
    const sameBase = sides.filter((side) => side.choice.base === choice.base);
    const curves = Grid.compared(sameBase.map((side) => side.choice)).map((strategy) => ({
      strategy,
      title: Grid.title(strategy),
      isChosen: sameBase.some((side) => side.choice.strategy === strategy),
      networks: Grid.curve(choice, strategy).map((each) => {
        const { flops, acts } = Grid.network(each);
        return { flops, acts, name: Grid.name(each) };
      }),
    }));
    const rings = sides.map(({ letter, network }) => ({ letter, flops: network.flops, acts: network.acts }));
    Chart.draw(element("plot"), curves, rings, (strategy, index) => change("a", { ...choice, strategy, index }));
  }

  function render() {
    const sides = LETTERS.filter((letter) => state[letter]).map((letter) => {
      const choice = state[letter];
      return { letter, choice, network: Grid.network(choice), programs: Grid.programs(choice) };
    });
    const isCompared = sides.length > 1;
    element("b").hidden = !isCompared;
    element("a-legend").textContent = isCompared ? "Network A" : "Network";
    element("body").classList.toggle("is-compared", isCompared);
    element("compare").textContent = isCompared ? "Show one network" : "Compare with a second network";
    for (const side of sides) showSide(side);
    Tables.showAll(sides);
    showChart(sides);
  }

  function change(letter, choice) {
    state[letter] = choice;
    say("");
    render();
    Links.write(state);
  }

  // Shows a view that an address has.
  function showView({ state: wanted, unknown }) {
    state.a = wanted.a || state.a;
    state.b = wanted.b;
    render();
    say(unknown.length ? `${unknown.join("; ")}.` : "");
    document.getElementById("explorer").scrollIntoView({ behavior: "instant" });
  }

  function connect(letter) {
    const controls = { base: "change", strategy: "change", alpha: "input", factor: "input" };
    for (const [name, event] of Object.entries(controls)) {
      element(`${letter}-${name}`).addEventListener(event, () => {
        const found = chosen(letter);
        // another base has other factors: the nearest is kept
        const isOther = found.base !== state[letter].base;
        change(letter, isOther ? Grid.choice(found.base, found.strategy, Grid.factor(state[letter])) : found);
      });
    }
    const texts = { variant: Grid.variant, command, json };
    for (const [name, text] of Object.entries(texts)) {
      Copying.offer(element(`${letter}-copy-${name}`), () => text(state[letter]), say);
    }
  }

  element("body").hidden = false;
  LETTERS.forEach(connect);
  element("compare").addEventListener("click", () => {
    // the same network at first, or what stood there before
    const other = chosen("b");
    const isKnown = element("b").dataset.wasShown;
    element("b").dataset.wasShown = "yes";
    change("b", state.b ? null : isKnown ? other : { ...state.a });
  });
  Copying.offer(element("copy-link"), () => Links.whole(state), say);
  Theme.offer(document.getElementById("theme-label"), document.getElementById("theme"));
  const found = Links.first();
  if (found) {
    if (found.state.b) element("b").dataset.wasShown = "yes";
    if (location.hash.startsWith("#explorer?")) showView(found);
    else Object.assign(state, { a: found.state.a || state.a, b: found.state.b });
  }
  render();
  Links.follow(showView, () => state);
})();
