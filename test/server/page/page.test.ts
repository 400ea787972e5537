import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import type { CDPSession, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BrokerError } from '../../../src/errors.ts';
import type { Trigger } from '../../../src/scalers/trigger.ts';
import { startBrowser, type TestBrowser } from '../../bed/browser.ts';
import { createMemoryBroker } from '../../bed/memoryScaler.ts';
import { startScaler, type TestScaler } from '../../bed/scaler.ts';
import { until } from '../../bed/until.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const MANY = 10_000;
const FRAMES = 120;
const FRAME_MS = 1000 / 60;
/** The task that draws a frame begins this little before its callbacks are called. */
const TASK_BEGINS_US = 2_000;

const broker = createMemoryBroker();
const never = new AbortController().signal;
let scaler: TestScaler;
let browser: TestBrowser;

function trigger(name: string, more: Record<string, string> = {}): Trigger {
  const metadata = { scaler: 'memory', queueName: name, host: 'memory://user:hunter2@broker/', ...more };
  return scaler.server.triggers.find({ namespace: 'shop', name, metadata });
}

async function open(path = '/'): Promise<Page> {
  const page = await browser.context.newPage();
  await page.goto(`http://${scaler.http}${path}`);
  return page;
}

/** Problems that axe knows of, as `rule: element`. */
async function problemsOf(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> };
    };
    const { violations } = await axe.run();
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
  });
}

/** One complete event of a trace; times in µs. `dur` is how long it took, `tdur` the CPU time of its thread. */
interface TraceEvent {
  readonly name: string;
  readonly ts: number;
  readonly pid: number;
  readonly tid: number;
  readonly tdur?: number;
  readonly dur?: number;
}

/** CPU time that the page's main thread spends on each frame while `act` runs, in ms, the least first. */
async function workOfFrames(session: CDPSession, act: () => Promise<unknown>): Promise<number[]> {
  const events: TraceEvent[] = [];
  session.on('Tracing.dataCollected', ({ value }) => events.push(...(value as unknown as TraceEvent[])));
  await session.send('Tracing.start', { categories: 'devtools.timeline,disabled-by-default-devtools.timeline,toplevel' });
  await act();
  const complete = new Promise<void>((resolve) => {
    session.once('Tracing.tracingComplete', () => {
      resolve();
    });
  });
  await session.send('Tracing.end');
  await complete;
  const begins = events.filter(({ name }) => name === 'FireAnimationFrame');
  const [{ pid, tid } = { pid: 0, tid: 0 }] = begins;
  const starts = begins.map(({ ts }) => ts).sort((left, right) => left - right);
  const work = new Map<number, number>();
  for (const event of events) {
    if (event.name !== 'RunTask' || event.pid !== pid || event.tid !== tid) continue;
    const frame = starts.findLastIndex((start) => start <= event.ts + TASK_BEGINS_US);
    // Of a task of a few microseconds Chromium tells no CPU time; it took no more than its time.
    if (frame >= 0) work.set(frame, (work.get(frame) ?? 0) + (event.tdur ?? event.dur ?? Number.NaN) / 1000);
  }
  return [...work.values()].sort((left, right) => left - right);
}

beforeAll(async () => {
  scaler = await startScaler({ page: true, scalers: [broker.scaler] });
  browser = await startBrowser();
  broker.set('orders', 42);
  broker.set('mails', 0);
  await Promise.all(['orders', 'mails'].map((name) => trigger(name).read(never)));
});
afterAll(async () => {
  await browser.close();
  await scaler.close();
});

describe('the status page', () => {
  test('lists triggers with state, value and target', async () => {
    const page = await open();
    await page.getByRole('row', { name: /shop\/orders/ }).waitFor();
    const cells = await page
      .getByRole('row', { name: /shop\/orders/ })
      .getByRole('gridcell')
      .allTextContents();
    expect(cells.slice(0, 5)).toEqual(['● active', 'shop/orders', 'memory-orders', '42 / 20', '42']);
    const curve = page.getByRole('row', { name: /shop\/orders/ }).locator('.c-curve');
    expect(await curve.getAttribute('aria-label')).toBe('up to 42 in the last hour');
    expect(await curve.locator('path').first().getAttribute('d')).toMatch(/^M.*Z$/);
    expect(await page.locator('#summary').textContent()).toBe('2 triggers: 1 active, 1 idle, 0 unknown');
    await page.close();
  });

  test('shows a wake within a second', async () => {
    const stop = trigger('mails').watch({ sample: () => undefined, trouble: () => undefined });
    const page = await open();
    const row = page.getByRole('row', { name: /shop\/mails/ });
    await row.waitFor();
    const began = performance.now();
    broker.set('mails', 3);
    await row.getByText('● active').waitFor({ timeout: 5_000 });
    expect(performance.now() - began).toBeLessThan(1_000);
    expect(await row.locator('.c-wakes').textContent()).toBe('1');
    broker.set('mails', 0);
    await row.getByText('○ idle').waitFor();
    stop();
    await page.close();
  });

  test('explains one trigger, follows it, and comes back with Escape to the same row', async () => {
    const page = await open();
    await page.getByRole('row', { name: /shop\/orders/ }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'shop/orders' }).waitFor();
    expect(await page.locator('#detail').innerText()).toContain('42 ready');
    expect(await page.getByRole('img').getAttribute('aria-label')).toContain('highest 42');
    broker.set('orders', 50);
    await until('a reading that is not remembered', async () => (await trigger('orders').read(never)).decision.value === 50);
    await page.locator('#detail').getByText('50 ready').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('row', { name: /shop\/orders/ }).waitFor();
    expect(await page.evaluate('document.activeElement.textContent')).toContain('shop/orders');
    await page.close();
  });

  test('says how many replicas one trigger asks for', async () => {
    broker.set('replicas', 41);
    await trigger('replicas').read(never);
    const page = await open('/#/trigger/shop%2Freplicas%2Fmemory-replicas');
    await page.getByText('about 3 by AverageValue, within').waitFor();
    broker.set('replicas', 0);
    await until('a reading of 0', async () => (await trigger('replicas').read(never)).decision.value === 0);
    await page.getByText('none by itself; about 1 by AverageValue').waitFor();
    await page.close();
  });

  test('sorts names as people count', async () => {
    for (const index of ['10', '9', '09', '1']) trigger(`counted-${index}`);
    const page = await open();
    await page.getByRole('searchbox').fill('counted-');
    await page.getByText(/^4 of \d+ triggers/).waitFor();
    expect(await page.locator('.row:visible .c-name').allTextContents()).toEqual(
      ['1', '09', '9', '10'].map((index) => `shop/counted-${index}`),
    );
    await page.getByRole('button', { name: 'Waiting' }).click();
    await page.locator('[aria-sort="descending"]').waitFor();
    expect(await page.locator('.row:visible .c-name').allTextContents()).toEqual(
      ['1', '09', '9', '10'].map((index) => `shop/counted-${index}`),
    );
    await page.close();
  });

  test('charts 5, 15 or 60 minutes from where the data begins, and keeps the choice in its address', async () => {
    const page = await open('/#/trigger/shop%2Forders%2Fmemory-orders');
    await page.getByRole('img').waitFor();
    expect(await page.locator('#chart text.x').allTextContents()).toEqual(['-3 min', '-2 min', '-1 min', 'now']);
    await page.getByLabel('Time shown').selectOption('15 minutes');
    expect(page.url()).toContain('?minutes=15');
    expect(await page.getByRole('img').getAttribute('aria-label')).toContain('in the last 15 min');
    await page.reload();
    await page.getByRole('img').waitFor();
    expect(await page.getByRole('img').getAttribute('aria-label')).toContain('in the last 15 min');
    await page.close();
  });

  test('has even axes whatever the figures are', async () => {
    const page = await open();
    const figures = [...Array.from({ length: 200 }, (_, index) => 1.1 ** index * 0.003), 1, 2, 5, 10, 20, 0.5, 42];
    const axes = await page.evaluate<{ values: number[]; highest: number }[]>(`(async () => {
      const { evenValues } = await import('/page/chart.js');
      return ${JSON.stringify(figures)}.map((highest) => ({ highest, values: evenValues(highest) }));
    })()`);
    for (const { values, highest } of axes) {
      const [, step = Number.NaN] = values;
      expect(['1', '2', '5']).toContain(step.toExponential()[0]);
      expect(step.toExponential()).toMatch(/^\de/);
      expect(values.length).toBeLessThanOrEqual(5);
      expect(values.at(-1)).toBeGreaterThanOrEqual(highest * 0.999_999);
      expect(values.at(-2)).toBeLessThan(highest);
    }
    const hour = Array.from({ length: 120 }, (_, index) => ({
      at: index * 30_000,
      value: null as number | null,
      waiting: null,
      held: null,
    }));
    const first = await page.evaluate<number[]>(`(async () => {
      const { stepsOf, evenMinutes } = await import('/page/chart.js');
      const course = ${JSON.stringify(hour)};
      const from = (index, minutes) => {
        course[index].value = 1;
        const steps = stepsOf(course, minutes);
        course[index].value = null;
        return steps.length;
      };
      return [from(0, 60), from(60, 60), from(60, 5), from(119, 60), ...evenMinutes(59.5 * 60000), ...evenMinutes(4.5 * 60000)];
    })()`);
    expect(first).toEqual([120, 60, 0, 7, 45, 30, 15, 0, 4, 3, 2, 1, 0]);
    await page.close();
  });

  test('says why a state is unknown and since when', async () => {
    broker.fail(new BrokerError('BROKER_UNREACHABLE', 'memory://: connection refused'));
    await expect(trigger('broken').read(never)).rejects.toThrow('refused');
    broker.fail(undefined);
    const page = await open('/#/trigger/shop%2Fbroken%2Fmemory-broken');
    await page.getByRole('heading', { name: 'Why it is unknown' }).waitFor();
    const text = await page.locator('#detail').innerText();
    expect(text).toContain('memory://: connection refused');
    expect(text).toContain('an error, on which it scales nothing as a rule');
    await page.close();
  });

  test('has no fault that axe finds, in the list and in the detail, light and dark, and on a phone', async () => {
    const page = await open();
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const size of [
        { width: 1280, height: 800 },
        { width: 360, height: 640 },
      ]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize(size);
        await page.goto(`http://${scaler.http}/#`);
        await page.getByRole('row', { name: /shop\/orders/ }).waitFor();
        expect(await problemsOf(page)).toEqual([]);
        expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
        await page.goto(`http://${scaler.http}/#/trigger/shop%2Forders%2Fmemory-orders`);
        await page.getByRole('img').waitFor();
        expect(await problemsOf(page)).toEqual([]);
        expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      }
    }
    await page.close();
  });

  test('loads nothing from elsewhere, under a policy that forbids it, and no part shows a secret', async () => {
    const page = await browser.context.newPage();
    const urls: string[] = [];
    const complaints: string[] = [];
    page.on('request', (request) => urls.push(request.url()));
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    await page.goto(`http://${scaler.http}/`);
    await page.getByRole('row', { name: /shop\/orders/ }).waitFor();
    expect(urls.filter((url) => !url.startsWith(`http://${scaler.http}/`) && !url.startsWith('data:'))).toEqual([]);
    expect(complaints).toEqual([]);
    const response = await fetch(`http://${scaler.http}/`);
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
    const texts = await Promise.all(
      ['/api/triggers', '/api/trigger?id=shop/orders/memory-orders'].map(async (path) =>
        (await fetch(`http://${scaler.http}${path}`)).text(),
      ),
    );
    expect(texts.join()).toContain('memory-orders');
    expect(texts.join() + (await page.content())).not.toMatch(/hunter2|user:/);
    await page.close();
  });

  test('is read-only', async () => {
    for (const method of ['POST', 'PUT', 'DELETE']) {
      expect((await fetch(`http://${scaler.http}/api/triggers`, { method })).status).toBe(405);
    }
  });

  test('has less than 100 KB of script, compressed', () => {
    const folder = new URL('../../../src/server/http/page/assets/', import.meta.url);
    const scripts = readdirSync(folder)
      .filter((name) => name.endsWith('.js'))
      .map((name) => readFileSync(new URL(name, folder)));
    expect(gzipSync(Buffer.concat(scripts)).length).toBeLessThan(100_000);
  });

  test('holds ten thousand triggers with few elements; search, filter, sort and End find their way', async () => {
    for (let index = 0; index < MANY; index++) trigger(`many-${String(index).padStart(5, '0')}`);
    broker.set('many-00777', 7);
    await trigger('many-00777').read(never);
    const page = await open();
    await page.getByText(/^1000\d triggers/).waitFor();
    expect(await page.locator('#rows > *').count()).toBeLessThan(100);
    expect(await page.getByRole('grid').getAttribute('aria-rowcount')).toMatch(/^1000\d$/);

    await page.locator('.row').first().focus();
    await page.keyboard.press('End');
    await page.getByRole('row', { name: /shop\/orders/ }).waitFor();

    await page.keyboard.press('/');
    await page.keyboard.type('many 777 SHOP');
    await page.getByText(/^\d+ of 1000\d triggers/).waitFor();
    await page.getByLabel('State').selectOption('active');
    await page.getByText(/^1 of 1000\d triggers/).waitFor();
    expect(await page.locator('.row:visible').allTextContents()).toEqual([expect.stringContaining('shop/many-00777')]);

    await page.getByLabel('State').selectOption('');
    await page.getByRole('searchbox').fill('');
    await page.getByRole('button', { name: 'Waiting' }).click();
    await page.locator('[aria-sort="descending"]').waitFor();
    await page.locator('.row[aria-rowindex="2"]').getByText('shop/orders').waitFor();
    await page.close();
  });

  test('scrolls through ten thousand triggers with less work a frame than a sixtieth of a second has room for', async () => {
    for (let index = 0; index < MANY; index++) trigger(`many-${String(index).padStart(5, '0')}`);
    const page = await open();
    await page.getByText(/^1000\d triggers/).waitFor();
    // CPU time of the page's main thread: how many frames are seen in a second would be the machine's other work.
    const session = await page.context().newCDPSession(page);
    const frames = await workOfFrames(session, () =>
      // As text, as the tests know no page.
      page.evaluate(`(async () => {
        const scroller = document.querySelector('#scroller');
        for (let frame = 0; frame < ${FRAMES}; frame++) {
          scroller.scrollTop += 10 * 38;
          await new Promise(requestAnimationFrame);
        }
      })()`),
    );
    expect(frames.length).toBeGreaterThan(FRAMES * 0.9);
    const [middle = Number.NaN, most = Number.NaN] = [0.5, 0.95].map((share) => frames[Math.floor(frames.length * share)]);
    const figures = `main-thread CPU a frame: ${middle.toFixed(1)} ms in the middle, ${most.toFixed(1)} ms for 95 %`;
    expect(middle, figures).toBeLessThan(FRAME_MS / 2);
    expect(most, figures).toBeLessThan(FRAME_MS);
    expect(await page.locator('.row[aria-rowindex="2"]').isVisible()).toBe(false);
    await page.close();
  });

  test('can be turned off', async () => {
    const without = await startScaler({ page: false, scalers: [broker.scaler] });
    expect((await fetch(`http://${without.http}/`)).status).toBe(404);
    expect((await fetch(`http://${without.http}/api/triggers`)).status).toBe(404);
    await without.close();
  });
});
