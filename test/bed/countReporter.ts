/**
 * Ends a test run with the plain line `N passed, N failed`; a test file that could not be loaded counts as one failure. What was
 * skipped is told in a line of its own before.
 */
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0 };
    for (const module of modules) {
      const before = counts.failed;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') counts.passed++;
        else if (state === 'failed') counts.failed++;
        else counts.skipped++;
      }
      if (module.state() === 'failed' && counts.failed === before) counts.failed++;
    }
    const skipped = counts.skipped > 0 ? `${counts.skipped} skipped\n` : '';
    // After the summary of the default reporter, which is written in the same tick.
    setImmediate(() => process.stdout.write(`\n${skipped}${counts.passed} passed, ${counts.failed} failed\n`));
  }
}
