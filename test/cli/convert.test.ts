import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { checkFiles } from '../../src/cli/check/check.ts';
import { convert } from '../../src/cli/convert.ts';
import { convertText } from '../../src/cli/convert/convert.ts';
import { loadKnownScalers } from '../../src/cli/knownScalers.ts';
import { parseObjects } from '../../src/yaml/objects.ts';

const folder = mkdtempSync(join(tmpdir(), 'convert-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const scalers = await loadKnownScalers();
const options = { scalerAddress: 'keda-queue-scaler.keda:6000', scalers };
const forward = (text: string) => convertText('x.yaml', text, options);
const back = (text: string) => convertText('x.yaml', text, { ...options, back: true });

const head = `# Orders are packed by these workers.
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:   { name: orders }   # odd spacing stays
spec:
  scaleTargetRef:
    name: orders
  triggers:
`;

/** Every form of trigger that KEDA has for RabbitMQ and Redis. */
const FORMS: Readonly<Record<string, string>> = {
  'rabbitmq over AMQP': `  - type: rabbitmq # the queue
    metadata:
      # where it is
      host: amqp://rabbit.shop:5672/vhost
      queueName: 'orders'
      mode: QueueLength
      value: "20"
`,
  'rabbitmq over HTTP, with a pattern': `  - type: "rabbitmq"
    metadata:
      hostFromEnv: RABBITMQ
      queueName: ^orders
      useRegex: "true"
      operation: avg
      mode: QueueLength
      value: "20"
      activationValue: "3"
      pageSize: "500"
`,
  'rabbitmq with the old queueLength': `  - metadata: # written first
        protocol: amqp
        queueName: orders
        queueLength: '5'
    authenticationRef: { name: rabbitmq }
    type: rabbitmq
`,
  'rabbitmq by rate': `  - type: rabbitmq
    metadata: { protocol: http, host: "http://rabbit.shop:15672/", queueName: orders, mode: MessageRate, value: "100" }
`,
  'rabbitmq by time': `  - type: rabbitmq
    metricType: Value
    metadata:
      protocol: http
      host: http://rabbit.shop:15672/
      queueName: orders
      mode: ExpectedQueueConsumptionTime
      value: "60"
      timeout: "2000"
`,
  'redis list': `  - type: redis
    metadata:
      address: redis.shop:6379
      listName: orders
      listLength: "5"
      activationListLength: "0"
      databaseIndex: "2"
`,
  'redis list with TLS': `  - type: redis
    metadata:
      host: redis.shop
      port: "6379"
      listName: orders
      enableTLS: "true"
      unsafeSsl: "false"
`,
  'redis stream by lag': `  - type: redis-streams
    metadata:
      address: redis.shop:6379
      stream: orders
      consumerGroup: workers
      lagCount: "5"
      activationLagCount: "0"
`,
  'redis stream by pending entries': `  - type: redis-streams
    metadata:
      address: redis.shop:6379
      stream: orders
      consumerGroup: workers
      pendingEntriesCount: "5"
`,
  'redis stream by length': `  - type: redis-streams
    metadata: {address: 'redis.shop:6379', stream: orders, streamLength: "5"}
`,
};

const errorsIn = (text: string) =>
  checkFiles([parseObjects('x.yaml', text)], scalers).findings.filter(({ severity }) => severity === 'error');

describe('convert', () => {
  test.each(Object.entries(FORMS))('makes %s a trigger of this scaler that passes check, and nothing else changes', (_, form) => {
    const before = head + form;
    const { text, conversions } = forward(before);
    expect(conversions).toMatchObject([{ converted: true }]);
    expect(errorsIn(text)).toEqual([]);
    const { objects } = parseObjects('x.yaml', text);
    const [trigger] = (objects[0]?.data['spec'] as { triggers: { type: string; metadata: Record<string, string> }[] }).triggers;
    expect(trigger?.type).toBe('external-push');
    expect(trigger?.metadata['scalerAddress']).toBe('keda-queue-scaler.keda:6000');
    const comments = (yaml: string): string[] => yaml.match(/#.*/g) ?? [];
    expect(comments(text)).toEqual(comments(before));
    expect(text.startsWith(head)).toBe(true);
  });

  test.each(Object.entries(FORMS))('gives %s back byte by byte', (_, form) => {
    const before = head + form;
    const returned = back(forward(before).text).text;
    expect(returned).toBe(before);
  });

  test('changes the type, adds two lines, and leaves the rest of a block as it is', () => {
    const form = FORMS['rabbitmq over AMQP'] ?? '';
    expect(forward(head + form).text).toBe(`${head}  - type: external-push # the queue
    metadata:
      scalerAddress: keda-queue-scaler.keda:6000
      scaler: rabbitmq
      # where it is
      host: amqp://rabbit.shop:5672/vhost
      queueName: 'orders'
      mode: QueueLength
      value: "20"
`);
  });

  test('keeps line ends of other systems, several documents and triggers of others', () => {
    const text =
      `${head}${FORMS['redis list'] ?? ''}  - type: cron\n    metadata: { timezone: UTC }\n---\nkind: Service\n`.replaceAll(
        '\n',
        '\r\n',
      );
    const { text: converted } = forward(text);
    expect(converted.replaceAll('\r\n', '')).not.toContain('\n');
    expect(converted).toContain('- type: cron');
    expect(back(converted).text).toBe(text);
  });

  test('gives TLS to Redis the name that KEDA does not take for itself', () => {
    const { text } = forward(head + (FORMS['redis list with TLS'] ?? ''));
    expect(text).toContain('tls: "enable"\n');
    expect(text).toContain('insecureSkipVerify: "false"');
    expect(text).not.toMatch(/enableTLS|unsafeSsl/);
  });

  test('sets aside as a comment what KEDA ignored, and says so', () => {
    const form =
      (FORMS['rabbitmq over AMQP'] ?? '') + '      metricName: orders\n      password: |\n        hunter2\n\n        x\n';
    const { text, conversions } = forward(head + form);
    expect(text).toContain(
      '      # ignored by KEDA: metricName: orders\n      # ignored by KEDA: password: |\n      # ignored by KEDA:   hunter2\n',
    );
    expect(back(text).text).toBe(head + form);
    expect(errorsIn(text)).toEqual([]);
    expect(conversions[0]?.remarks.join('\n')).toContain('ignored metricName; it is a comment now');
    expect(JSON.stringify(conversions)).not.toContain('hunter2');
  });

  test('escapes what would be a pattern in a list name, and takes it back', () => {
    const before = `${head}  - type: redis\n    metadata:\n      address: redis.shop:6379\n      listName: 'a*b,c'\n`;
    const { text } = forward(before);
    expect(text).toContain(String.raw`listName: 'a\*b\,c'`);
    expect(back(text).text).toBe(before);
  });

  test('polls a ScaledJob, as KEDA does not push there', () => {
    const job = `apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: { name: x }\nspec:\n  jobTargetRef: { template: { spec: { containers: [] } } }\n  triggers:\n${FORMS['redis list'] ?? ''}`;
    expect(forward(job).text).toContain('type: external\n');
    expect(back(forward(job).text).text).toBe(job);
  });

  test.each([
    ['an anchor', '    metadata: &shared\n      address: redis.shop:6379\n      listName: orders\n', 'anchor'],
    ['nothing but a merged mapping', '    metadata:\n      <<: *base\n', '<<'],
    [
      'a merged value that would have to change',
      '    metadata:\n      <<: { enableTLS: "true" }\n      listName: x\n',
      'enableTLS',
    ],
    [
      'a shared value that would have to change',
      '    metadata:\n      address: a.b:1\n      listName: x\n      enableTLS: *on\n',
      'enableTLS',
    ],
  ])('leaves metadata with %s alone and says why', (_, metadata, why) => {
    const anchors = 'x-anchors:\n  base: &base { address: "redis.shop:6379" }\n  on: &on "true"\n';
    const before = `${anchors}${head}  - type: redis\n${metadata}`;
    const { text, conversions } = forward(before);
    expect(text).toBe(before);
    expect(conversions).toMatchObject([{ converted: false, remarks: [expect.stringContaining(why)] }]);
  });

  test('converts what merges a mapping that stays, and gives it back', () => {
    const before = `x-base: &base { address: "redis.shop:6379" }\n${head}  - type: redis\n    metadata:\n      <<: *base\n      listName: orders\n`;
    const { text, conversions } = forward(before);
    expect(conversions).toMatchObject([{ converted: true }]);
    expect(text).toContain('      scaler: redis\n      <<: *base\n');
    expect(errorsIn(text)).toEqual([]);
    expect(back(text).text).toBe(before);
  });

  test('says of a template that it is one, and nothing else', async () => {
    const stderr = new PassThrough();
    const template = `{{- if .Values.queue }}\n${head}  - type: redis\n    metadata:\n      {{- toYaml .Values.queue | nindent 6 }}\n{{- end }}\n`;
    const io = { stdin: Readable.from([template]), stdout: new PassThrough(), stderr, colour: false };
    expect(await convert(['-'], {}, io)).toBe(1);
    const said = String(stderr.read()).split('\n');
    expect(said[0]).toMatch(/^<stdin>:1:1: this is a template, not YAML: render it first/);
    expect(said).toHaveLength(3);
  });

  test.each([
    [
      'anchors and aliases of values that stay',
      '    metadata:\n      address: &a redis.shop:6379\n      listName: &q orders\n  - type: redis\n    metadata:\n      address: *a\n      listName: *q\n      listLength: "7"\n',
    ],
    [
      'keys and values in quotes of either kind',
      `    metadata:\n      "address": "redis.shop:6379"\n      'listName': 'a*b'\n      "enableTLS": 'true'\n      'unsafeSsl': "false"\n`,
    ],
    ['a pattern without quotes', '    metadata:\n      address: redis.shop:6379\n      listName: a*b\n'],
    [
      'braces over several lines',
      '    metadata: {\n      address: redis.shop:6379, # where\n      listName: orders,\n      enableTLS: "true",\n    }\n',
    ],
    [
      'a comment behind the last key',
      '    metadata:\n      address: redis.shop:6379\n      listName: orders\n      metricName: x # old\n      # the end\n',
    ],
    [
      'a key that KEDA ignores in the middle',
      '    metadata:\n      address: redis.shop:6379\n      metricName: x\n      listName: orders\n    authenticationRef:\n      name: redis\n',
    ],
  ])('gives back %s byte by byte', (_, metadata) => {
    for (const mark of ['', '\uFEFF']) {
      const before = `${mark}${head}  - type: redis\n${metadata}---\n# the next\nkind: Service\n`;
      const { text, conversions } = forward(before);
      expect(conversions.every(({ converted }) => converted)).toBe(true);
      expect(errorsIn(text)).toEqual([]);
      expect(back(text).text).toBe(before);
    }
  });

  test('sets keys of this scaler alone aside on the way back, and takes them up again', () => {
    const ours = `${head}  - type: external-push\n    metadata:\n      scalerAddress: keda-queue-scaler.keda:6000\n      scaler: redis\n      address: redis.shop:6379\n      listName: orders\n      processingListName: orders:processing\n`;
    const { text, conversions } = back(ours);
    expect(text).toContain('      # for keda-queue-scaler only: processingListName: orders:processing\n');
    expect(conversions[0]?.remarks.join()).toContain('it is a comment now');
    expect(forward(text).text).toBe(ours);
  });

  test('tells only the differences that this trigger will meet', () => {
    const remarks = (form: string) => forward(head + (FORMS[form] ?? '')).conversions[0]?.remarks.join('\n') ?? '';
    expect(remarks('rabbitmq over AMQP')).toContain('unacknowledged messages count as well');
    expect(remarks('rabbitmq by rate')).not.toContain('unacknowledged messages count');
    expect(remarks('rabbitmq over HTTP, with a pattern')).toContain('onMissingQueue: zero');
    expect(remarks('redis stream by pending entries')).toContain('undelivered entries wake a worker');
    expect(remarks('redis list')).not.toContain('entries');
  });

  test('writes into the files when told to, and twice is once', async () => {
    const file = join(folder, 'orders.yaml');
    writeFileSync(file, head + (FORMS['redis list'] ?? ''));
    const io = () => ({ stdin: Readable.from([]), stdout: new PassThrough(), stderr: new PassThrough(), colour: false });
    expect(await convert([file], { write: true }, io())).toBe(0);
    const once = readFileSync(file, 'utf8');
    expect(once).toContain('external-push');
    const second = io();
    expect(await convert([file], { write: true }, second)).toBe(0);
    expect(readFileSync(file, 'utf8')).toBe(once);
    expect(String(second.stderr.read())).toBe('0 triggers converted\n');
  });

  test('prints what came out and fails where check would', async () => {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const broken = head + (FORMS['redis list'] ?? '').replace('"5"', '"five"');
    expect(await convert(['-'], {}, { stdin: Readable.from([broken]), stdout, stderr, colour: false })).toBe(1);
    expect(String(stdout.read())).toContain('scaler: redis');
    expect(String(stderr.read())).toContain('error: listLength must be a whole number');
  });
});
