/**
 * A connection that is logged in, in its database, and tracks the keys it reads where that is wanted and allowed.
 *
 * Logging in and selecting are done here and not by ioredis, which reads database 0 when it cannot select another, and carries on
 * when a password is refused because the server has none.
 */
import type { Secret } from '../../../auth/secret.ts';
import { BrokerError } from '../../../errors.ts';
import type { TlsSettings } from '../../net/tls.ts';
import type { Address } from '../../net/address.ts';
import { openConnection, type Connection } from './connection.ts';
import { isReplica, otherKind, replyError, replyInvalid, type ServerKind } from './failures.ts';
import { ErrorReply, fieldsOf, type Command, type Reply } from './reply.ts';

/** Below the two seconds that an answer to KEDA may take, so that the answer can give the reason. */
const TIMEOUT_MS = 1_500;
/** As `CLIENT LIST` shows us to the people who run the server. */
const CLIENT_NAME = 'keda-queue-scaler';

export interface Access {
  /** What a server must be to be asked. */
  readonly kind: ServerKind;
  readonly username: string | undefined;
  readonly password: Secret | undefined;
  readonly tls: TlsSettings | undefined;
  readonly database: number;
}

export interface Session extends Connection {
  /** What the server says it is; undefined where it says nothing of it. */
  readonly kind: ServerKind | undefined;
  /** Whether the server tracks the keys read on this session: their next change is passed to `onInvalidated`. */
  readonly tracking: boolean;
  /** Why the server would not do so. */
  readonly trackingRefused: BrokerError | undefined;
}

/** Whether to track keys: from the start, perhaps later, or never as the server holds none. */
export type Tracking = 'now' | 'later' | 'never';

/** Keys that have changed, or null: any may have. */
export type Invalidated = (keys: readonly string[] | null) => void;

/** Opens and introduces a connection. Rejects with a {@link BrokerError}, which never shows a secret. */
export async function openSession(
  address: Address,
  access: Access,
  tracking: Tracking,
  onInvalidated: Invalidated,
): Promise<Session> {
  const connection = await openConnection(address, access.tls, TIMEOUT_MS, (kind, [keys]) => {
    if (kind !== 'invalidate') return;
    onInvalidated(Array.isArray(keys) ? keys.map(String) : null);
  });
  try {
    const { version3, kind, primary } = await login(connection, access);
    if (access.kind === 'standalone') await expectStandalone(connection, kind, primary);
    if (access.database !== 0) {
      const [selected] = await connection.request([['SELECT', access.database]]);
      expectOk(selected, connection.where, `SELECT ${access.database}`);
    }
    const session = { ...connection, kind, tracking: false, trackingRefused: undefined };
    if (tracking === 'never') return session;
    if (!version3) {
      const why = `${connection.where} speaks protocol version 2 only, which has no tracking on one connection`;
      return { ...session, trackingRefused: new BrokerError('BROKER_REPLY_INVALID', why) };
    }
    // Also tried when nobody watches yet, so that a refusal is known before somebody does.
    return await track(session, tracking === 'now');
  } catch (thrown) {
    connection.close();
    throw thrown;
  }
}

/**
 * The session anew: the server tracks the keys that are read from here on; unless `keep`, it is only asked whether it would. What was
 * read before counts as not tracked. Rejects with a {@link BrokerError}.
 */
export async function track(session: Session, keep: boolean): Promise<Session> {
  const commands: Command[] = [['CLIENT', 'TRACKING', 'ON']];
  if (!keep) commands.push(['CLIENT', 'TRACKING', 'OFF']);
  const [reply] = await session.request(commands);
  const refused = reply instanceof ErrorReply ? asBrokerError(reply, session.where, 'CLIENT TRACKING') : undefined;
  return { ...session, tracking: keep && reply === 'OK', trackingRefused: refused };
}

interface Login {
  readonly version3: boolean;
  readonly kind: ServerKind | undefined;
  /** Whether the server is no replica; undefined where it says nothing of it. */
  readonly primary: boolean | undefined;
}

async function login(connection: Connection, { username, password }: Access): Promise<Login> {
  const secrets = password === undefined ? [] : [password];
  const credentials = password === undefined ? [] : ['AUTH', username ?? 'default', password.reveal()];
  const [hello] = await connection.request([['HELLO', 3, ...credentials, 'SETNAME', CLIENT_NAME]]);
  if (!(hello instanceof ErrorReply)) {
    if (!Array.isArray(hello)) throw replyInvalid(hello ?? null, connection.where, 'HELLO');
    const fields = fieldsOf(hello);
    const role = fields.get('role');
    return {
      version3: true,
      kind: kindOf(fields.get('mode')),
      primary: typeof role === 'string' ? role === 'master' : undefined,
    };
  }
  // Servers before version 6 and some proxies know no HELLO; all know AUTH.
  if (hello.code !== 'NOPROTO' && !/unknown command|not supported|unsupported/i.test(hello.text)) {
    throw asBrokerError(hello, connection.where, 'HELLO', secrets);
  }
  if (password !== undefined) {
    const secret = password.reveal();
    const [auth] = await connection.request([username === undefined ? ['AUTH', secret] : ['AUTH', username, secret]]);
    expectOk(auth, connection.where, 'AUTH', secrets);
  }
  // Many proxies know no INFO either.
  const [info] = await connection.request([['INFO', 'server']]);
  const mode = typeof info === 'string' ? /^redis_mode:(\w+)/m.exec(info)?.[1] : undefined;
  return { version3: false, kind: kindOf(mode), primary: undefined };
}

function kindOf(mode: Reply | undefined): ServerKind | undefined {
  return mode === 'standalone' || mode === 'cluster' || mode === 'sentinel' ? mode : undefined;
}

/**
 * Refuses a server whose answers would be no error and no truth: a node of a cluster knows its own keys only, a sentinel none, and a
 * replica those of some time ago.
 */
async function expectStandalone(
  connection: Connection,
  kind: ServerKind | undefined,
  primary: boolean | undefined,
): Promise<void> {
  const { where } = connection;
  if (kind === 'sentinel') throw otherKind(where, kind);
  if (kind === 'cluster') {
    // Some proxies in front of a cluster call themselves one, and serve every key.
    const [reply] = await connection.request([['CLUSTER', 'NODES']]);
    if (!(reply instanceof ErrorReply) || reply.code === 'NOPERM') throw otherKind(where, kind);
  }
  if (primary === false) throw isReplica(where);
}

function expectOk(reply: Reply | undefined, where: string, subject: string, secrets: readonly Secret[] = []): void {
  if (reply === 'OK') return;
  if (reply instanceof ErrorReply) throw asBrokerError(reply, where, subject, secrets);
  throw replyInvalid(reply ?? null, where, subject);
}

function asBrokerError(reply: ErrorReply, where: string, subject: string, secrets: readonly Secret[] = []): BrokerError {
  const error = replyError(reply, where, subject, secrets);
  return error instanceof BrokerError ? error : new BrokerError('BROKER_REPLY_INVALID', error.message);
}
