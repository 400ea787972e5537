import { afterEach, describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { until } from '../../bed/until.ts';
import { createDecoder, encode, ErrorReply, ProtocolError, type Reply } from '../../../src/scalers/redis/wire/resp.ts';
import { createAsker } from './ask.ts';

/** Bytes of a reply, as a server would send it. */
function bytes(reply: Reply): string {
  if (reply === null) return '$-1\r\n';
  if (typeof reply === 'number') return `:${reply}\r\n`;
  if (typeof reply === 'string') return `$${Buffer.byteLength(reply)}\r\n${reply}\r\n`;
  if (typeof reply === 'boolean') return `#${reply ? 't' : 'f'}\r\n`;
  if (reply instanceof ErrorReply) return `-${reply.text}\r\n`;
  return `*${reply.length}\r\n${reply.map(bytes).join('')}`;
}

const replies = fc.letrec<{ reply: Reply }>((tie) => ({
  reply: fc.oneof(
    { depthSize: 'small' },
    fc.constant(null),
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.string({ unit: 'grapheme' }),
    fc.string().map((text) => new ErrorReply(`ERR ${text.replaceAll(/[\r\n]/g, ' ')}`)),
    fc.array(tie('reply'), { maxLength: 4, depthIdentifier: 'reply' }),
  ),
})).reply;

function decode(chunks: readonly Buffer[]): Reply[] {
  const heard: Reply[] = [];
  const decoder = createDecoder(
    (reply) => heard.push(reply),
    () => undefined,
  );
  for (const chunk of chunks) decoder.write(chunk);
  return heard;
}

describe('the protocol', () => {
  it('reads replies the same however their bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(replies, { maxLength: 5 }), fc.array(fc.nat(200), { maxLength: 10 }), (sent, cuts) => {
        const whole = Buffer.from(sent.map(bytes).join(''));
        const at = [...new Set([0, ...cuts.filter((cut) => cut < whole.length), whole.length])].sort(
          (left, right) => left - right,
        );
        const chunks = at.slice(1).map((end, index) => whole.subarray(at[index], end));
        const [heard, expected] = [decode(chunks), sent];
        expect(heard).toEqual(expected);
      }),
    );
  });

  it('reads maps, sets, attributes and big numbers of version 3 as flat lists and texts', () => {
    const text = '%1\r\n+lag\r\n:3\r\n~1\r\n:1\r\n|1\r\n+ttl\r\n:9\r\n_\r\n(123456789012345678901\r\n=7\r\ntxt:abc\r\n,1.5\r\n';
    expect(decode([Buffer.from(text)])).toEqual([['lag', 3], [1], null, '123456789012345678901', 'abc', '1.5']);
  });

  it('ends with an error, never with a guess or a hang, on bytes that are not it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (noise) => {
        try {
          decode([Buffer.from(noise)]);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(ProtocolError);
        }
      }),
    );
    for (const bad of [
      '*2000000\r\n',
      '$99999999999\r\n',
      '$3\r\nabcde\r\n',
      ':1e9\r\n',
      '#x\r\n',
      '*1\r\n'.repeat(12),
      'HTTP/1.1 400 Bad Request\r\n',
    ]) {
      expect(() => decode([Buffer.from(bad)]), bad).toThrow(ProtocolError);
    }
  });

  it('writes arguments by their bytes, so that none can be taken for another', () => {
    expect(encode([['LLEN', 'ü\r\nx']]).toString()).toBe('*2\r\n$4\r\nLLEN\r\n$5\r\nü\r\nx\r\n');
  });
});

describe('a server that talks nonsense', () => {
  let server: Server | undefined;
  afterEach(async () => {
    const closing = server;
    server = undefined;
    await new Promise((resolve) => closing?.close(resolve) ?? setImmediate(resolve));
  });

  async function fake(answer: (socket: Socket, received: string) => void): Promise<string> {
    const listening = createServer((socket) => {
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
