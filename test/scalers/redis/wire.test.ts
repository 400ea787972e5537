import { afterEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { BrokerError } from '../../../src/errors.ts';
import { openConnection, type Connection } from '../../../src/scalers/redis/wire/connection.ts';
import { createFrameCheck, ProtocolError } from '../../../src/scalers/redis/wire/framing.ts';
import { ErrorReply, type Reply } from '../../../src/scalers/redis/wire/reply.ts';
import { until } from '../../bed/until.ts';
import { createAsker } from './ask.ts';

/** Bytes of a reply, as a server would send it. */
function bytes(reply: Reply): string {
  if (reply === null) return '$-1\r\n';
  if (typeof reply === 'number') return `:${reply}\r\n`;
  if (typeof reply === 'string') return `$${Buffer.byteLength(reply)}\r\n${reply}\r\n`;
  if (reply instanceof ErrorReply) return `-${reply.text}\r\n`;
  return `*${reply.length}\r\n${reply.map(bytes).join('')}`;
}

const values = fc.letrec<{ reply: Reply }>((tie) => ({
  reply: fc.oneof(
    { depthSize: 'small' },
    fc.constant(null),
    // The library's decoder loses the last digit of integers that are within 48 of 2^53.
    // Adding 0 makes -0 a plain 0, which is all that the wire can carry.
    fc.maxSafeInteger().map((value) => Math.trunc(value / 2) + 0),
    fc.string({ unit: 'grapheme' }),
    fc.array(tie('reply'), { maxLength: 4, depthIdentifier: 'reply' }),
  ),
})).reply;
const replies = fc.oneof(
  { weight: 4, arbitrary: values },
  { weight: 1, arbitrary: fc.string().map((text) => new ErrorReply(`ERR ${text.replaceAll(/[\r\n]/g, ' ')}`)) },
);

function cut(whole: Buffer, cuts: readonly number[]): readonly Buffer[] {
  const at = [...new Set([0, ...cuts.filter((place) => place < whole.length), whole.length])].sort((left, right) => left - right);
  return at.slice(1).map((end, index) => whole.subarray(at[index], end));
}

let server: Server | undefined;
const connections: Connection[] = [];
afterEach(async () => {
  for (const connection of connections.splice(0)) connection.close();
  const closing = server;
  server = undefined;
  await new Promise((resolve) => closing?.close(resolve) ?? setImmediate(resolve));
});

async function fake(answer: (socket: Socket, received: string) => void): Promise<string> {
  const listening = createServer({ noDelay: true }, (socket) => {
    socket.on('data', (chunk) => {
      answer(socket, chunk.toString());
    });
    socket.on('error', () => undefined);
  });
  server = listening;
  await new Promise<void>((resolve) => {
    listening.listen(0, '127.0.0.1', resolve);
  });
  return `127.0.0.1:${(listening.address() as AddressInfo).port}`;
}

async function connect(address: string, timeoutMs = 1_000): Promise<Connection> {
  const connection = await openConnection(
    { host: '127.0.0.1', port: Number(address.split(':')[1]) },
    undefined,
    timeoutMs,
    () => undefined,
  );
  connections.push(connection);
  return connection;
}

describe('the protocol', () => {
  it('is read the same however its bytes are cut', async () => {
    let chunks: readonly Buffer[] = [];
    const address = await fake((socket) => {
      const [first, ...rest] = chunks;
      if (first !== undefined) socket.write(first);
      for (const chunk of rest) setImmediate(() => socket.write(chunk));
    });
    const connection = await connect(address);
    await fc.assert(
      fc.asyncProperty(
        fc.array(replies, { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(200), { maxLength: 10 }),
        async (sent, cuts) => {
          chunks = cut(Buffer.from(sent.map(bytes).join('')), cuts);
          const heard = await connection.request(sent.map(() => ['PING']));
          expect(heard).toEqual(sent);
        },
      ),
    );
  });

  it('is checked the same however its bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(replies, { maxLength: 5 }), fc.array(fc.nat(200), { maxLength: 10 }), (sent, cuts) => {
        const check = createFrameCheck();
        for (const chunk of cut(Buffer.from(sent.map(bytes).join('')), cuts)) check(chunk);
        // The check knows that it is between two replies: what is no header there is an error at once.
        expect(() => {
          check(Buffer.from('x\r\n'));
        }).toThrow(ProtocolError);
      }),
    );
  });

  it('gives maps, sets and big numbers of version 3 as flat lists and texts', async () => {
    const text = '%1\r\n+lag\r\n:3\r\n~1\r\n:1\r\n_\r\n(123456789012345678901\r\n=7\r\ntxt:abc\r\n,1.5\r\n';
    const connection = await connect(await fake((socket) => socket.write(text)));
    const expected = [['lag', 3], [1], null, '123456789012345678901', 'abc', '1.5'];
    expect(await connection.request(expected.map(() => ['PING']))).toEqual(expected);
  });

  it('ends with an error, never with a guess or a hang, on bytes that are not it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (noise) => {
        try {
          createFrameCheck()(Buffer.from(noise));
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(ProtocolError);
        }
      }),
    );
    for (const bad of [
      '*2000000\r\n',
      '*600000\r\n*600000\r\n',
      '%600000\r\n',
      '$99999999999\r\n',
      '$99999999\r\n',
      '$3\r\nabcde\r\n',
      '=3\r\nabc\r\n',
      ':1e9\r\n',
      ':\r\n',
      '+a\rb\r\n',
      ':1\n',
      '#t\r\n',
      'HTTP/1.1 400 Bad Request\r\n',
    ]) {
      expect(() => {
        createFrameCheck()(Buffer.from(bad));
      }, bad).toThrow(ProtocolError);
    }
  });

  it('bounds a reply by its bytes and the next one anew', () => {
    const check = createFrameCheck();
    const string = Buffer.from(`$${40 << 20}\r\n${'x'.repeat(40 << 20)}\r\n`);
    check(string);
    check(string);
    check(Buffer.from('*2\r\n'));
    check(string);
    expect(() => {
      check(string);
    }).toThrow(/bytes/);
  });

  it('writes arguments by their bytes, so that none can be taken for another', async () => {
    let received = '';
    const address = await fake((socket, chunk) => {
      received += chunk;
      socket.write(':0\r\n');
    });
    await (await connect(address)).request([['LLEN', 'ü\r\nx']]);
    expect(received).toBe('*2\r\n$4\r\nLLEN\r\n$5\r\nü\r\nx\r\n');
  });
});

describe('a hostile server', () => {
  const nested = '*33000000\r\n'.repeat(6);
  it.each([
    ['a push of nil', '>1\r\n_\r\n'],
    ['a nil that nobody asked for', ':0\r\n_\r\n'],
    ['a reply that nobody asked for', ':0\r\n:0\r\n'],
    ['random noise', Buffer.from([0xff, 0x00, 0x2a, 0x0d, 0x0a, 0x80, 0x3a])],
    ['a line without end', '+'.padEnd(70_000, 'x')],
    ['a string of 2 GB', '$2000000000\r\nxxx'],
    ['lists for which the heap has no room', nested],
    ['lists for which the heap has no room, behind a string that is longer than it says', `$1\r\nxyz${nested}`],
  ])('that sends %s loses its connection, and nobody else hears of it', async (_name, sent) => {
    let hostile = true;
    const address = await fake((socket) => socket.write(hostile ? sent : ':7\r\n'));
    const victim = await connect(address);
    const lost = victim.request([['LLEN', 'q']]).then(
      () => undefined,
      (error: unknown) => error,
    );
    const reason = await victim.ended;
    expect(reason).toMatchObject({ code: 'BROKER_REPLY_INVALID' });
    expect([reason, undefined]).toContain(await lost);
    hostile = false;
    expect(await (await connect(address)).request([['LLEN', 'q']])).toEqual([7]);
  });

  it('that sends without end, or answers nothing, loses its connection when its time is up', async () => {
    const address = await fake((socket, received) => {
      if (received.includes('SUBSCRIBED')) socket.write('>3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n');
      if (!received.includes('ENDLESS')) return;
      const header = `*900000\r\n`;
      socket.write(header);
      const more = setInterval(() => socket.write('$-1\r\n'), 20);
      socket.on('close', () => {
        clearInterval(more);
      });
    });
    for (const command of ['ENDLESS', 'SUBSCRIBED', 'SILENT']) {
      const connection = await connect(address, 300);
      const startedAt = performance.now();
      await expect(connection.request([[command]])).rejects.toMatchObject({ code: 'BROKER_TIMEOUT' });
      expect(performance.now() - startedAt).toBeLessThan(1_500);
      expect((await connection.ended) instanceof BrokerError).toBe(true);
    }
  });
});

describe('a server that talks nonsense', () => {
  it('is an error for every kind of nonsense, and ends nothing but its own connection', async () => {
    const asker = createAsker();
    let answered = '';
    const address = await fake((socket, received) => {
      socket.write(received.includes('HELLO') ? '%1\r\n+server\r\n+redis\r\n' : answered);
    });
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.array(replies, { minLength: 1, maxLength: 4 }).map((sent) => sent.map(bytes).join('')),
          fc.string({ minLength: 1 }),
          fc.constantFrom(
            '$-1\r\n$-1\r\n$-1\r\n',
            '>2\r\n+invalidate\r\n:7\r\n',
            '>0\r\n:-1\r\n*0\r\n',
            '+OK\r\n*0\r\n',
            ':-5\r\n*0\r\n',
          ),
        ),
        async (nonsense) => {
          // Enough replies of some kind, so that only late ones are missing.
          answered = nonsense;
          const result = await Promise.race([
            asker.ask({ scaler: 'redis', address, listName: 'q', processingListName: 'p' }).then(
              ({ decision }) => decision.value,
              (error: unknown) => (error as { code: string }).code,
            ),
          ]);
          // Two plain numbers in a row are an answer; all else is unknown.
          if (typeof result === 'number') expect(nonsense).toMatch(/^:\d+\r\n:\d+\r\n/);
          else
            expect(result).toMatch(
              /^(BROKER_REPLY_INVALID|BROKER_TIMEOUT|BROKER_UNREACHABLE|VALUE_IMPLAUSIBLE|BROKER_BUSY|BROKER_NOT_PRIMARY|QUEUE_WRONG_TYPE)$/,
            );
        },
      ),
      { numRuns: 10 },
    );
    await asker.close();
    // Nonsense that lacks a reply takes the whole time that a request may take.
  }, 60_000);

  it.each([
    ['LOADING Redis is loading the dataset in memory', 'BROKER_LOADING'],
    ['OOM command not allowed when used memory > maxmemory', 'BROKER_OUT_OF_MEMORY'],
    ['READONLY You can’t write against a read only replica.', 'BROKER_NOT_PRIMARY'],
    ['CLUSTERDOWN The cluster is down', 'BROKER_CLUSTER_DOWN'],
    ['MASTERDOWN Link with MASTER is down', 'BROKER_NOT_PRIMARY'],
    ['BUSY Redis is busy running a script.', 'BROKER_BUSY'],
    ['NOAUTH Authentication required.', 'BROKER_REFUSED'],
    ['NOPERM this user has no permissions', 'BROKER_FORBIDDEN'],
    ['ERR something new', 'BROKER_REPLY_INVALID'],
  ])('saying %s is told as %s', async (text, code) => {
    const asker = createAsker();
    const address = await fake((socket, received) => {
      socket.write(received.includes('HELLO') ? '%0\r\n' : `-${text}\r\n*1\r\n+master\r\n`);
    });
    const error = await asker.refusal({ scaler: 'redis', address, listName: 'q' });
    expect(error.code).toBe(code);
    expect(error.message).toContain(text.split(' ')[0]);
    await asker.close();
  });

  it('without version 3 of the protocol is read with version 2, and its sleeping keys are polled', async () => {
    const asker = createAsker();
    let length = 0;
    const address = await fake((socket, received) => {
      const commands = received.match(/\*\d+\r\n\$\d+\r\n\w+/g) ?? [];
      for (const command of commands) {
        const name = command.split('\r\n')[2];
        socket.write(
          name === 'HELLO'
            ? '-ERR unknown command `HELLO`, with args beginning with: `3`\r\n'
            : name === 'LLEN'
              ? `:${length}\r\n`
              : '*1\r\n+master\r\n',
        );
      }
    });
    const heard: boolean[] = [];
    const stop = asker
      .trigger({ scaler: 'redis', address, listName: 'q' })
      .watch({ sample: ({ decision }) => heard.push(decision.active), trouble: () => undefined });
    await until('asleep', () => heard.at(-1) === false);
    length = 1;
    await until('awake', () => heard.at(-1) === true, { deadlineMs: 2_000 });
    stop();
    await asker.close();
  });
});
