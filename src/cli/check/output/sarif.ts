/**
 * Findings as SARIF 2.1.0, for code scanning: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
 */
import { VERSION } from '../../../version.ts';
import type { CheckResult } from '../check.ts';
import { RULES } from '../finding.ts';

const SCHEMA = 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json';

export function asSarif({ findings }: CheckResult): string {
  const ids = Object.keys(RULES);
  const log = {
    $schema: SCHEMA,
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'queue-scaler check',
            version: VERSION,
            rules: Object.entries(RULES).map(([id, { severity, doc }]) => ({
              id,
              shortDescription: { text: doc },
              defaultConfiguration: { level: severity },
            })),
          },
        },
        results: findings.map(({ rule, severity, position, message, fix, object, path }) => ({
          ruleId: rule,
          ruleIndex: ids.indexOf(rule),
          level: severity,
          message: { text: fix === undefined ? message : `${message} (fix: ${fix})` },
          locations: [
            {
              physicalLocation: {
                artifactLocation: { uri: encodeURI(position.file) },
                region: { startLine: position.line, startColumn: position.column },
              },
              ...(object !== undefined && {
                logicalLocations: [{ fullyQualifiedName: path === undefined ? object : `${object} ${path}` }],
              }),
            },
          ],
        })),
      },
    ],
  };
  return `${JSON.stringify(log, null, 2)}\n`;
}
