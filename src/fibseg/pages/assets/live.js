// The page of `fibseg watch`: reads state.json again and again, and shows what has changed.
const summary = document.querySelector('#summary');
const body = document.querySelector('#runs tbody');
let charts = null;
let names = '';
let drawn = '';
let comparison = 0;
let interval = 5;

function duration(seconds) {
  if (seconds === null) return '';
  const minutes = Math.floor(seconds / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${Math.round(seconds)} s`;
}

function address(name) {
  return `runs/${name.split('/').map(encodeURIComponent).join('/')}`;
}

function runRow(run) {
  const link = element('a', {href: `${address(run.name)}/`, textContent: run.name});
  const epoch = element('span', {textContent: `${run.epoch}/${run.epochs || '?'} `});
  const bar = element('progress', {value: run.epoch, max: run.epochs || 1, ariaLabel: 'epochs'});
  const digits = (value, count) => (value === null ? '' : value.toFixed(count));
  const reason = run.reason ? `: ${run.reason}` : '';
  // A forest has no epochs.
  const hasNone = run.state === 'finished' && !run.epoch;
  const cells = [link, `${run.state}${reason}`, hasNone ? '' : [epoch, bar], digits(run.val_loss, 4),
    digits(run.val_f1, 3), duration(run.left)];
  const row = element('tr', {className: run.state}, ...cells.map(
    cell => element('td', {}, ...(Array.isArray(cell) ? cell : [cell]))));
  row.dataset.run = run.name;
  return row;
}

function showCurves(content) {
  // Controls stay as a person has set them while the same runs go on.
  const shape = JSON.stringify([content.runs, content.charts.length]);
  const numbers = JSON.stringify(content.charts.map(chart => chart.columns));
  if (charts && shape === names) {
    if (numbers !== drawn) charts.update(content);
    drawn = numbers;
    return;
  }
  drawn = numbers;
  names = shape;
  charts?.close();
  const part = element('div', {className: 'charts'},
    element('div', {className: 'panel', role: 'group', ariaLabel: 'What the charts show'}),
    ...content.charts.map(chart => element('figure', {},
      element('h3', {textContent: chart.description}), element('div', {className: 'chart'}))));
  document.querySelector('#curves').replaceChildren(part);
  charts = new Charts(part, content);
}

function showPicture(runs) {
  const place = document.querySelector('#picture');
  const newest = (a, b) => (b.picture_time > a.picture_time ? b : a);
  const run = runs.filter(candidate => candidate.picture).reduce(newest, {picture_time: 0});
  if (!run.picture) return place.replaceChildren('No run has drawn its labels so far.');
  const source = `${address(run.picture)}?${run.picture_time}`;
  const image = element('img', {src: source, alt: `labelled slices of ${run.name}`});
  image.style.maxWidth = '100%';
  const shown = place.querySelector('img');
  if (shown?.alt === image.alt && shown.src === image.src) return;
  place.replaceChildren(element('p', {textContent: run.name}), image);
}

function showComparison(version, error) {
  const place = document.querySelector('#comparison');
  if (error) return place.replaceChildren(`fibseg compare failed: ${error}`);
  if (!version) return place.replaceChildren('It comes when the first run has finished.');
  if (version === comparison) return;
  comparison = version;
  const frame = element('iframe', {src: `comparison/index.html?${version}`, title: 'comparison'});
  frame.addEventListener('load', () => {
    frame.style.height = `${frame.contentDocument.documentElement.scrollHeight + 40}px`;
  });
  const link = element('a', {href: 'comparison/index.html', textContent: 'The comparison by itself'});
  place.replaceChildren(element('p', {}, link), frame);
}

async function look() {
  try {
    const answer = await fetch('state.json', {cache: 'no-cache'});
    if (!answer.ok) throw new Error(await answer.text());
    const state = await answer.json();
    interval = state.interval;
    const counts = {};
    for (const run of state.runs) counts[run.state] = (counts[run.state] ?? 0) + 1;
    const parts = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
    const left = Math.max(0, ...state.runs.map(run => run.left ?? 0));
    if (left) parts.push(`those that run need ${duration(left)} more`);
    const text = `${state.folder}: ${parts.join(', ') || 'no run so far'}.`;
    // A screen reader reads it out when it changes.
    if (summary.textContent !== text) summary.textContent = text;
    // What has the focus of a keyboard keeps it.
    const focus = document.activeElement?.closest('#runs tr')?.dataset.run;
    body.replaceChildren(...state.runs.map(runRow));
    if (focus) [...body.rows].find(row => row.dataset.run === focus)?.querySelector('a').focus();
    showCurves(state.curves);
    showPicture(state.runs);
    showComparison(state.comparison, state.comparison_error);
  } catch (error) {
    summary.textContent = `No answer from fibseg watch (${error.message}). The page tries again.`;
  }
  setTimeout(look, 1000 * interval);
}

look();
