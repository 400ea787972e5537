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
import { replyError, replyInvalid } from './failures.ts';
import { ErrorReply, type Command, type Reply } from './reply.ts';

/** Below the two seconds that an answer to KEDA may take, so that the answer can give the reason. */
const TIMEOUT_MS = 1_500;
/** As `CLIENT LIST` shows us to the people who run the server. */
const CLIENT_NAME = 'keda-queue-scaler';

export interface Access {
  readonly username: string | undefined;
  readonly password: Secret | undefined;
  readonly tls: TlsSettings | undefined;
  readonly database: number;
}

export interface Session extends Connection {
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
    const version3 = await login(connection, access);
    if (access.database !== 0) {
      const [selected] = await connection.request([['SELECT', access.database]]);
      expectOk(selected, connection.where, `SELECT ${access.database}`);
    }
    const session = { ...connection, tracking: false, trackingRefused: undefined };
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

/** Whether the server took protocol version 3. */
async function login(connection: Connection, { username, password }: Access): Promise<boolean> {
  const secrets = password === undefined ? [] : [password];
  const credentials = password === undefined ? [] : ['AUTH', username ?? 'default', password.reveal()];
  const [hello] = await connection.request([['HELLO', 3, ...credentials, 'SETNAME', CLIENT_NAME]]);
  if (!(hello instanceof ErrorReply)) {
    if (Array.isArray(hello)) return true;
    throw replyInvalid(hello ?? null, connection.where, 'HELLO');
  }
  // Servers before version 6 and some proxies know no HELLO; all know AUTH.
  if (hello.code !== 'NOPROTO' && !/unknown command|not supported|unsupported/i.test(hello.text)) {
    throw asBrokerError(hello, connection.where, 'HELLO', secrets);
  }
  if (password === undefined) return false;
  const secret = password.reveal();
  const [auth] = await connection.request([username === undefined ? ['AUTH', secret] : ['AUTH', username, secret]]);
  expectOk(auth, connection.where, 'AUTH', secrets);
  return false;
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
