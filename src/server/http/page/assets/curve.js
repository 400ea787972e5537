/** The small curves of the list: what waited and what was held in the last hour. */

const WIDTH = 96;
const HEIGHT = 22;
const NS = 'http://www.w3.org/2000/svg';

/** @returns {SVGSVGElement} */
export function makeCurve() {
  const svg = document.createElementNS(NS, 'svg');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('aria-hidden', 'true');
  for (const name of ['waiting', 'held']) {
    const path = document.createElementNS(NS, 'path');
    path.setAttribute('class', `curve-${name}`);
    svg.append(path);
  }
  return svg;
}

/** Draws only what has changed, as a list that scrolls does this for each row that comes into sight. */
export function drawCurve(svg, curve) {
  const key = curve === undefined ? '' : `${curve.waiting}/${curve.held}`;
  if (svg.dataset.drawn === key) return;
  svg.dataset.drawn = key;
  svg.firstChild.setAttribute('d', curve === undefined ? '' : area(curve.waiting));
  svg.lastChild.setAttribute('d', curve === undefined ? '' : line(curve.held));
}

const x = (index, points) => ((index + 0.5) / points.length) * WIDTH;
const y = (level) => HEIGHT - 2 - (Number(level) / 9) * (HEIGHT - 4);

/** Unknown times are gaps. */
function line(points) {
  let d = '';
  for (let index = 0; index < points.length; index++) {
    if (points[index] === ' ') continue;
    const goesOn = index > 0 && points[index - 1] !== ' ';
    d += `${goesOn ? 'L' : 'M'}${x(index, points).toFixed(1)} ${y(points[index]).toFixed(1)}${goesOn ? '' : 'h2'}`;
  }
  return d;
}

/** Bars, so that a single burst is seen. */
function area(points) {
  const half = WIDTH / points.length / 2 - 0.4;
  let d = '';
  for (let index = 0; index < points.length; index++) {
    if (points[index] === ' ') continue;
    const middle = x(index, points);
    d += `M${(middle - half).toFixed(1)} ${HEIGHT - 1}V${y(points[index]).toFixed(1)}H${(middle + half).toFixed(1)}V${HEIGHT - 1}Z`;
  }
  return d;
}
