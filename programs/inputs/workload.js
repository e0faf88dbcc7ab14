// Objects, closures, regular expressions, typed arrays, JSON, generators, BigInt and exceptions.
"use strict";

class Node {
  constructor(key) { this.key = key; this.left = null; this.right = null; }
  insert(key) {
    const side = key < this.key ? "left" : "right";
    if (this[side]) this[side].insert(key); else this[side] = new Node(key);
  }
  *[Symbol.iterator]() {
    if (this.left) yield* this.left;
    yield this.key;
    if (this.right) yield* this.right;
  }
}

function tree(n) {
  let seed = 42;
  const root = new Node(500);
  for (let i = 0; i < n; i++) root.insert((seed = (seed * 1103515245 + 12345) % 2147483648) % 1000);
  return [...root].filter((k, i) => i % 50 === 0).join();
}

function matrix(n) {
  const a = new Float64Array(n * n).map((_, i) => i % 7), out = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += a[i * n + k] * a[k * n + j];
      out[i * n + j] = sum;
    }
  return out.reduce((x, y) => x + y, 0);
}

function text() {
  const source = "The quick brown fox jumps over the lazy dog; 2024-01-31, 1999-12-24. ".repeat(20);
  const dates = source.match(/(?<year>\d{4})-(\d\d)-(\d\d)/g).length;
  const swapped = source.replace(/\b(\w)(\w*)\b/g, (_, a, b) => b + a.toUpperCase());
  return dates + " " + swapped.slice(0, 40);
}

function json(n) {
  const value = { list: Array.from({ length: n }, (_, i) => ({ id: i, name: `n${i}`, half: i / 2, odd: i % 2 === 1 })) };
  const copy = JSON.parse(JSON.stringify(value));
  return copy.list.filter(x => x.odd).map(x => x.half).reduce((a, b) => a + b, 0);
}

function factorial(n) {
  let product = 1n;
  for (let i = 2n; i <= n; i++) product *= i;
  return product;
}

function caught() {
  try { null.property; } catch (e) { return e instanceof TypeError ? "TypeError" : "?"; } finally { print("finally"); }
}

for (let i = 0; i < Math.max(argument, 1); i++) {
  print(tree(400));
  print(matrix(24));
  print(text());
  print(json(200));
  print(factorial(30n), (factorial(90n) % 1000000007n).toString(16));
  print(caught());
  print([3, 1, 2].toSorted(), Math.hypot(3, 4), (0.1 + 0.2).toFixed(10), 1e21, -0 === 0);
}
Promise.resolve("later").then(print);
