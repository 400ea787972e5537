/** The test runner takes every uncaught exception for a failed run; those of a contained connection are not its concern, as in main.ts. */
import { endThrowingConnection } from '../../src/scalers/net/containment.ts';

process.setUncaughtExceptionCaptureCallback((thrown) => {
  if (!endThrowingConnection(thrown)) (process as NodeJS.EventEmitter).emit('uncaughtException', thrown, 'uncaughtException');
});
