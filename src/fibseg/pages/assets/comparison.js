// Cells are compared as numbers where both begin with a number, as .937 ± .009, and else as text.
addEventListener('beforeprint', () => {
  for (const part of document.querySelectorAll('details')) part.open = true;
});
for (const table of document.querySelectorAll('table.sortable')) {
  const buttons = table.querySelectorAll('th button');
  buttons.forEach((button, column) => button.addEventListener('click', () => {
    const head = button.closest('th');
    const up = head.getAttribute('aria-sort') !== 'ascending';
    table.querySelectorAll('th').forEach(cell => cell.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const body = table.tBodies[0];
    const cell = row => row.cells[column].textContent;
    // Thousands are set apart by commas.
    const number = text => parseFloat(text.replace(/,(?=\d{3})/g, ''));
    const order = (a, b) => {
      const x = number(cell(a));
      const y = number(cell(b));
      return isNaN(x) || isNaN(y) ? cell(a).localeCompare(cell(b)) : x - y;
    };
    const sorted = [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a));
    sorted.forEach(row => body.append(row));
  }));
}
for (const box of document.querySelectorAll('.gallery')) {
  const pictures = JSON.parse(box.querySelector('script').textContent);
  const [slice, left, right] = box.querySelectorAll('select');
  const [swipe, zoom] = box.querySelectorAll('input');
  const view = box.querySelector('.view');
  const [image, under, over] = box.querySelectorAll('img');
  const show = () => {
    const picture = pictures[slice.value];
    image.src = picture.image;
    under.src = picture.layers[left.value] || '';
    over.src = picture.layers[right.value] || '';
    under.hidden = !picture.layers[left.value];
    over.hidden = !picture.layers[right.value];
    under.style.clipPath = `inset(0 ${100 - swipe.value}% 0 0)`;
    over.style.clipPath = `inset(0 0 0 ${swipe.value}%)`;
    view.style.width = zoom.value > 1 ? `${100 * zoom.value}%` : '';
    view.classList.toggle('zoomed', zoom.value > 1);
    const place = slice.selectedOptions[0].textContent;
    image.alt = `${place}: left ${left.value}, right ${right.value}`;
  };
  for (const control of [slice, left, right, swipe, zoom]) control.addEventListener('input', show);
  show();
}
