/**
 * Formulas of `scalingModifiers`: the part of the Expr language that computes with numbers. A formula becomes closures that know the
 * names that they are given and nothing else.
 *
 * Source: https://expr-lang.org/docs/language-definition. KEDA gives each trigger's value as a float; whole literals are integers.
 */
import type jsep from 'jsep';
import { arithmetic, flat, isEqual, OF_ARRAY, OF_NUMBER, OF_NUMBERS, unary } from './functions.ts';
import { parseTree, type Tree } from './syntax.ts';
import { at, FormulaError, kindOf, numeric, truth, type Value } from './values.ts';

export interface FormulaFault {
  readonly message: string;
  /** The formula is right as Expr goes, as far as is known here, and only more than can be evaluated here. */
  readonly beyond: boolean;
}

export interface Formula {
  /** What it reads. */
  readonly names: ReadonlySet<string>;
  readonly evaluate: (values: ReadonlyMap<string, number>) => { readonly value: number } | { readonly error: string };
}

interface Scope {
  readonly values: ReadonlyMap<string, number>;
  /** `#` of a predicate. */
  readonly element?: Value;
}
type Evaluate = (scope: Scope) => Value;

/** Never throws. */
export function parseFormula(text: string): { readonly formula: Formula } | { readonly fault: FormulaFault } {
  try {
    const names = new Set<string>();
    const evaluate = compile(parseTree(text), names);
    return { formula: { names, evaluate: (values) => evaluateNumber(evaluate, values) } };
  } catch (thrown) {
    return { fault: { message: messageOf(thrown), beyond: thrown instanceof FormulaError && thrown.beyond } };
  }
}

function evaluateNumber(evaluate: Evaluate, values: ReadonlyMap<string, number>): ReturnType<Formula['evaluate']> {
  try {
    const value = evaluate({ values });
    if (typeof value !== 'number' && typeof value !== 'bigint') return { error: `gives ${kindOf(value)}, not a number` };
    return Number.isFinite(Number(value)) ? { value: Number(value) } : { error: `gives ${String(value)}` };
  } catch (thrown) {
    return { error: messageOf(thrown) };
  }
}

/** jsep counts from 0. */
function messageOf(thrown: unknown): string {
  const { message, index, description } = thrown as Error & { readonly index?: number; readonly description?: string };
  return index === undefined || description === undefined ? message : `${description} ${at(index)}`;
}

function compile(expression: jsep.Expression | null, names: Set<string>): Evaluate {
  const node = expression as Tree;
  switch (node?.type) {
    case 'Literal': {
      const value = /^\d+$/.test(node.raw) ? BigInt(node.raw) : Number(node.value);
      return () => value;
    }
    case 'Constant':
      return () => node.value;
    case 'Group':
      return compile(node.body, names);
    case 'Element':
      return ({ element }) => {
        if (element === undefined) throw new FormulaError('# is known in a predicate only');
        return element;
      };
    case 'Identifier': {
      const { name } = node;
      names.add(name);
      return ({ values }) => {
        const value = values.get(name);
        if (value === undefined) throw new FormulaError(`no trigger is called ${name} (${at(Number(node['index']))})`);
        return value;
      };
    }
    case 'ArrayExpression': {
      const elements = node.elements.map((element) => compile(element, names));
      return (scope) => elements.map((element) => element(scope));
    }
    case 'UnaryExpression': {
      const argument = compile(node.argument, names);
      return (scope) => unary(node.operator, argument(scope));
    }
    case 'BinaryExpression':
      return binary(node.operator, compile(node.left, names), compile(node.right, names));
    case 'ConditionalExpression': {
      const [test, yes, no] = [node.test, node.consequent, node.alternate].map((part) => compile(part, names));
      return (scope) => (truth('?', test?.(scope)) ? yes?.(scope) : no?.(scope)) ?? null;
    }
    case 'CallExpression':
      return call(node, names);
    case 'MemberExpression':
      throw new FormulaError('members and indices are more of Expr than is evaluated here', true);
    case 'Predicate':
    case 'SequenceExpression':
    case 'ThisExpression':
    case 'Compound':
    case undefined:
      throw new FormulaError('an expression is missing, or { } stands where no predicate can');
  }
}

function binary(operator: string, left: Evaluate, right: Evaluate): Evaluate {
  switch (operator) {
    case '&&':
    case 'and':
      return (scope) => truth(operator, left(scope)) && truth(operator, right(scope));
    case '||':
    case 'or':
      return (scope) => truth(operator, left(scope)) || truth(operator, right(scope));
    case '??':
      return (scope) => left(scope) ?? right(scope);
    case '==':
      return (scope) => isEqual(left(scope), right(scope));
    case '!=':
      return (scope) => !isEqual(left(scope), right(scope));
    default:
      return (scope) => arithmetic(operator, numeric(operator, left(scope)), numeric(operator, right(scope)));
  }
}

function call({ callee, arguments: written }: jsep.CallExpression, names: Set<string>): Evaluate {
  if (callee.type !== 'Identifier') throw new FormulaError('only functions by name can be called');
  const word = (callee as jsep.Identifier).name;
  const where = at(Number(callee['index']));
  const [first, second] = written;
  const ofArray = OF_ARRAY.get(word);
  if (ofArray !== undefined) {
    if (first === undefined || written.length > 2 || (word === 'len' && second !== undefined))
      throw new FormulaError(`${word} ${where} takes an array${word === 'len' ? '' : ' and a predicate'}`);
    const array = compile(first, names);
    const predicate = second && compile(second.type === 'Predicate' ? (second['body'] as jsep.Expression) : second, names);
    return (scope) => {
      const elements = array(scope);
      if (!Array.isArray(elements)) throw new FormulaError(`${word} ${where} takes an array, not ${kindOf(elements)}`);
      const made = predicate === undefined ? elements : elements.map((element: Value) => predicate({ ...scope, element }));
      return ofArray(made as readonly Value[], elements as readonly Value[]);
    };
  }
  const values = written.map((argument) => compile(argument, names));
  const ofNumbers = OF_NUMBERS.get(word);
  if (ofNumbers !== undefined)
    return (scope) => ofNumbers(values.flatMap((value) => flat(value(scope))).map((each) => numeric(word, each)));
  const ofNumber = OF_NUMBER.get(word);
  if (ofNumber === undefined) throw new FormulaError(`function ${word} ${where} is not known here`, true);
  if (values.length !== 1) throw new FormulaError(`${word} ${where} takes one number`);
  return (scope) => ofNumber(numeric(word, values[0]?.(scope)));
}
