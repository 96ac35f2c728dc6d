// The explorer: looks a network up in the grid that the page carries, and shows it.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const at = Object.fromEntries(data.fields.map((name, index) => [name, index]));
  const element = (name) => document.getElementById(`explorer-${name}`);
  const UNITS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

  function human(amount) {
    const [unit, letter] = UNITS.find(([size]) => amount >= size) || [1, ""];
    return `${(amount / unit).toPrecision(4)} ${letter}`.trim();
  }

  function exact(amount) {
    return amount.toLocaleString("en-GB");
  }

  // A figure for people, with the whole number where the pointer rests on it.
  function show(target, amount) {
    target.textContent = human(amount);
    target.title = exact(amount);
    target.dataset.exact = String(amount);
  }

  function showTime(target, network) {
    const time = network[at.step_ms];
    target.textContent = `${time < 100 ? time.toPrecision(3) : exact(Math.round(time))} ms`;
    if (network[at.is_covered]) return;
    const mark = document.createElement("span");
    mark.className = "beyond";
    mark.textContent = "beyond";
    mark.title = "beyond what was measured";
    target.append(" ", mark);
  }

  function cell(row, text, isNumber = true) {
    const made = row.insertCell();
    made.className = isNumber ? "number" : "words";
    made.textContent = text;
    return made;
  }

  function emptied(name) {
    const body = element(name).tBodies[0];
    body.replaceChildren();
    return body;
  }

  function chosen() {
    const picked = element("strategy").value;
    const alpha = `a${Number(element("alpha").value) / 10}`;
    return {
      base: element("base").value,
      strategy: picked === "alpha" ? alpha : picked,
      index: Number(element("factor").value),
    };
  }

  // Named strategies, and the alpha that was chosen, if one was.
  function compared(strategy) {
    return data.strategies.includes(strategy) ? data.strategies : [...data.strategies, strategy];
  }

  function title(strategy) {
    return data.strategies.includes(strategy) ? strategy : `α = ${strategy.slice(1)}`;
  }

  function showFigures(state, network) {
    const base = data.bases.find((each) => each.key === state.base);
    const factor = data.factors[state.index];
    element("alpha-value").textContent = (Number(element("alpha").value) / 10).toFixed(1);
    element("factor-value").textContent = String(factor);
    element("name").textContent = `${base.name} scaled by ${title(state.strategy)}, s = ${factor}`;
    for (const count of ["flops", "params", "acts"]) show(element(count), network[at[count]]);
    element("resolution").textContent = `${network[at.resolution]} px`;
    if (data.device) showTime(element("step"), network);
  }

  function showStages(network) {
    const body = emptied("stages");
    const end = (name, width) => {
      const row = body.insertRow();
      cell(row, name, false);
      for (const text of ["", width ? exact(width) : "–", ""]) cell(row, text);
    };
    end("stem", network[at.stem_width]);
    network[at.depths].forEach((depth, stage) => {
      const row = body.insertRow();
      cell(row, String(stage + 1), false);
      for (const amount of [depth, network[at.widths][stage], network[at.group_widths][stage]]) {
        cell(row, exact(amount));
      }
    });
    end("head", network[at.head_width]);
  }

  function showOthers(state) {
    const body = emptied("others");
    for (const strategy of compared(state.strategy)) {
      const network = data.networks[state.base][strategy][state.index];
      const row = body.insertRow();
      row.dataset.strategy = strategy;
      row.classList.toggle("is-chosen", strategy === state.strategy);
      cell(row, title(strategy), false);
      for (const count of ["flops", "params", "acts"]) show(cell(row, ""), network[at[count]]);
      cell(row, String(network[at.resolution]));
      if (data.device) showTime(cell(row, ""), network);
    }
  }

  const SYMBOLS = ["triangle-down", "circle", "triangle-up", "square", "pentagon", "triangle-left",
    "diamond", "cross", "x", "star"];

  function curve(state, strategy, index) {
    const networks = data.networks[state.base][strategy];
    return {
      name: title(strategy),
      x: networks.map((network) => network[at.flops]),
      y: networks.map((network) => network[at.acts]),
      mode: "lines+markers",
      line: { width: strategy === state.strategy ? 3 : 1.2 },
      marker: { size: 4, symbol: SYMBOLS[index] },
      customdata: data.factors,
      hovertemplate: "s = %{customdata}<br>%{x:.4s} flops<br>%{y:.4s} acts",
    };
  }

  function plot(state, network) {
    // everything else works without it
    if (!window.Plotly) return;
    const traces = compared(state.strategy).map((strategy, index) => {
      const trace = curve(state, strategy, index);
      // an alpha has no colour of its own
      trace.line.color = data.colors[strategy] || "#1d2329";
      trace.marker.color = trace.line.color;
      return trace;
    });
    traces.push({
      name: "chosen",
      x: [network[at.flops]],
      y: [network[at.acts]],
      mode: "markers",
      marker: { size: 16, symbol: "circle-open", color: "#1d2329", line: { width: 3 } },
      hoverinfo: "skip",
    });
    const axis = (text) => ({ type: "log", title: { text }, gridcolor: "#e6e9ec", tickformat: "~s", dtick: "D2" });
    const layout = {
      xaxis: axis("flops, an image"),
      yaxis: axis("activations, an image"),
      margin: { l: 60, r: 10, t: 10, b: 50 },
      legend: { orientation: "h", y: -0.18 },
      font: { family: "system-ui, sans-serif", size: 12 },
      paper_bgcolor: "#fff",
      plot_bgcolor: "#fff",
    };
    window.Plotly.react(element("plot"), traces, layout, { displayModeBar: false, responsive: true });
  }

  function render() {
    const state = chosen();
    const network = data.networks[state.base][state.strategy][state.index];
    showFigures(state, network);
    showStages(network);
    showOthers(state);
    plot(state, network);
  }

  element("body").hidden = false;
  for (const name of ["base", "strategy", "factor"]) element(name).addEventListener("input", render);
  element("alpha").addEventListener("input", () => {
    element("strategy").value = "alpha";
    render();
  });
  render();
})();
