// Charts of each data set, drawn by Vega-Lite from the numbers in the page and filtered by its controls.
const LOOK = {
  background: null,
  font: 'system-ui, sans-serif',
  axis: {
    labelColor: 'currentColor', titleColor: 'currentColor', titleFontWeight: 'normal',
    domainColor: '#888', tickColor: '#888', gridColor: '#8883', labelFontSize: 11, titleFontSize: 12,
  },
  header: {labelColor: 'currentColor', labelFontSize: 13, labelFontWeight: 'bold'},
  legend: {labelColor: 'currentColor', titleColor: 'currentColor', labelFontSize: 11},
  view: {stroke: '#8885'},
};
// With keys, since a page must still scroll over a chart; two fingers on a touchpad come as Ctrl and the wheel.
const ZOOM = {
  name: 'zoom', bind: 'scales',
  select: {
    type: 'interval', zoom: 'wheel![event.ctrlKey || event.metaKey]',
    translate: '[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!',
  },
};
// Pixels beside the axes of a chart: their labels and title.
const MARGIN = 64;

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function checkbox(text, color, changed) {
  const box = element('input', {type: 'checkbox', checked: true});
  box.addEventListener('change', () => changed(box.checked));
  const swatch = element('span', {className: 'swatch'});
  swatch.style.background = color;
  return element('label', {}, box, ...(color ? [swatch] : []), text);
}

class Charts {
  constructor(part, content) {
    this.part = part;
    this.content = content;
    this.hidden = {configuration: new Set(), class: new Set()};
    this.run = null;
    this.isLogarithmic = false;
    this.views = new Map();
    this.tip = element('div', {className: 'tip', hidden: true});
    document.body.append(this.tip);
    this.addControls();
    this.places = [...part.querySelectorAll('.chart')];
    this.ending = new AbortController();
    const {signal} = this.ending;
    this.near = new IntersectionObserver(entries => {
      for (const entry of entries) {
        if (entry.isIntersecting) this.draw(this.places.indexOf(entry.target));
      }
    }, {rootMargin: '400px'});
    this.places.forEach(place => this.near.observe(place));
    let wait;
    let width = innerWidth;
    addEventListener('resize', () => {
      if (innerWidth === width) return;
      width = innerWidth;
      clearTimeout(wait);
      wait = setTimeout(() => this.redraw(), 200);
    }, {signal});
    addEventListener(
      'beforeprint', () => this.places.forEach((_, number) => this.draw(number)), {signal});
    signal.addEventListener('abort', () => clearTimeout(wait));
  }

  // Other numbers of the same runs; what a person has zoomed into stays.
  update(content) {
    this.content = content;
    for (const [number, view] of this.views) {
      view.data('rows', this.rows(content.charts[number])).run();
    }
  }

  close() {
    this.ending.abort();
    this.near.disconnect();
    this.tip.remove();
    for (const view of this.views.values()) view.finalize();
  }

  addControls() {
    const {configurations, colors, classes, runs} = this.content;
    const group = (title, names, key, colored) => element(
      'fieldset', {}, element('legend', {textContent: title}),
      ...names.map((name, number) => checkbox(name, colored ? colors[number] : '', isChecked => {
        if (isChecked) this.hidden[key].delete(number); else this.hidden[key].add(number);
        this.changed();
      })),
    );
    this.choice = element('select', {}, element('option', {value: '', textContent: 'all'}),
      ...runs.map((run, number) => element('option', {value: number, textContent: run.name})));
    this.choice.addEventListener('change', () => this.choose(this.choice.value));
    const log = element('input', {type: 'checkbox'});
    log.addEventListener('change', () => { this.isLogarithmic = log.checked; this.redraw(); });
    const panel = this.part.querySelector('.panel');
    panel.append(
      group('Configurations', configurations.map(name => name.short), 'configuration', true),
      ...(classes.length ? [group('Classes', classes, 'class', false)] : []),
      element('fieldset', {}, element('label', {}, 'Run ', this.choice),
        element('label', {}, log, ' logarithmic loss')),
      element('p', {
        className: 'note',
        textContent: 'A click on a dot or a curve picks its run. Ctrl and the wheel zoom, Shift and '
          + 'dragging move, a double click shows all.',
      }),
    );
  }

  choose(value) {
    this.run = value === '' ? null : Number(value);
    this.choice.value = value;
    this.changed();
  }

  changed() {
    const {configurations, classes, runs} = this.content;
    const names = new Set([...this.hidden.configuration].map(number => configurations[number].name));
    const hidden = new Set([...this.hidden.class].map(number => classes[number]));
    const chosen = this.run === null ? null : runs[this.run];
    const section = this.part.closest('section');
    for (const row of section.querySelectorAll('tbody tr')) {
      const {run, configuration} = row.dataset;
      const isOther = chosen !== null && run !== undefined && run !== chosen.name;
      row.hidden = isOther || names.has(configuration) || hidden.has(row.dataset.class);
    }
    // The gallery has the median run of each configuration.
    const layer = section.querySelectorAll('.gallery select')[2];
    if (chosen !== null && layer) {
      const name = configurations[chosen.configuration].name;
      const option = [...layer.options].find(({value}) => value.startsWith(`${name}, seed `));
      if (option) {
        layer.value = option.value;
        layer.dispatchEvent(new Event('input'));
      }
    }
    this.redraw();
  }

  redraw() {
    for (const number of this.views.keys()) this.draw(number, true);
  }

  // Rows of a chart as objects, without those that the controls hide.
  rows(chart) {
    const {configurations, classes, runs} = this.content;
    const names = Object.keys(chart.columns);
    const rows = [];
    const count = names.length ? chart.columns[names[0]].length : 0;
    for (let k = 0; k < count; k++) {
      const row = {};
      for (const name of names) row[name] = chart.columns[name][k];
      const run = row.run ?? null;
      if (run !== null) Object.assign(row, runs[run]);
      const configuration = row.configuration ?? null;
      const chosen = this.run === null ? null : runs[this.run].configuration;
      if (this.run !== null && run !== null && run !== this.run) continue;
      if (chosen !== null && configuration !== null && configuration !== chosen) continue;
      if (this.hidden.configuration.has(configuration) || this.hidden.class.has(row.class)) continue;
      if (configuration !== null) {
        row.full = configurations[configuration].name;
        row.configuration = configurations[configuration].short;
      }
      if (row.class !== undefined) row.class = classes[row.class];
      rows.push(row);
    }
    return rows;
  }

  specification(chart, rows, width) {
    const specification = structuredClone(chart.specification);
    const {configurations, colors} = this.content;
    const inner = specification.spec ?? specification;
    const layers = inner.layer;
    for (const {encoding} of layers) {
      if (encoding.color?.field === 'configuration') {
        encoding.color.scale = {domain: configurations.map(name => name.short), range: colors};
      }
      const axis = encoding[chart.logarithmic];
      if (axis && this.isLogarithmic) axis.scale = {...axis.scale, type: 'log'};
    }
    if (specification.facet) {
      const field = specification.facet.field;
      const count = new Set(rows.map(row => row[field])).size;
      const least = inner.width ? inner.width.step * 4 + MARGIN : 260;
      specification.columns = Math.max(1, Math.min(count, Math.floor(width / least)));
      if (!inner.width) inner.width = this.innerWidth(layers, rows, width, specification.columns);
    } else {
      inner.width = width - MARGIN;
    }
    layers[0].params = [ZOOM];
    return {...specification, data: {name: 'rows', values: rows}, config: LOOK};
  }

  // Names of configurations on an axis take their room once, numbers in every chart.
  innerWidth(layers, rows, width, columns) {
    const hasNames = layers[0].encoding.y.type === 'nominal';
    const longest = Math.max(0, ...rows.map(row => (row.configuration ?? '').length));
    const names = hasNames ? Math.min(180, 12 + 6.5 * longest) : 0;
    return Math.max(120, (width - names) / columns - (hasNames ? 24 : MARGIN));
  }

  draw(number, again = false) {
    if (this.views.has(number) && !again) return;
    this.views.get(number)?.finalize();
    this.tip.hidden = true;
    const place = this.places[number];
    const chart = this.content.charts[number];
    const rows = this.rows(chart);
    const specification = this.specification(chart, rows, place.clientWidth);
    const compiled = vegaLite.compile(specification, {logger: vega.logger(vega.Error)});
    const view = new vega.View(vega.parse(compiled.spec), {
      renderer: 'svg', container: place, hover: true, logLevel: vega.Error,
    });
    view.description(chart.description);
    view.tooltip((handler, event, item, value) => this.hover(event, value));
    view.addEventListener('click', (event, item) => {
      const name = item?.datum?.name ?? item?.mark?.group?.datum?.name;
      const run = this.content.runs.findIndex(candidate => candidate.name === name);
      if (run >= 0) this.choose(String(run === this.run ? '' : run));
    });
    view.run();
    this.views.set(number, view);
  }

  hover(event, value) {
    this.tip.hidden = !value;
    if (!value) return;
    const lines = Object.entries(value).filter(([, text]) => text !== 'null' && text !== 'undefined');
    this.tip.textContent = lines.map(([name, text]) => `${name === 'full' ? 'runs' : name}: ${text}`).join('\n');
    const {clientX: x, clientY: y} = event;
    this.tip.style.left = `${Math.min(x + 12, innerWidth - this.tip.offsetWidth - 4)}px`;
    this.tip.style.top = `${Math.min(y + 12, innerHeight - this.tip.offsetHeight - 4)}px`;
  }
}

for (const part of document.querySelectorAll('.charts')) {
  new Charts(part, JSON.parse(part.querySelector('script').textContent));
}
