import { scale, unused } from "./lib/scale";
import settings from "./settings.json";

interface Point { x: number; y: number }

export const points: Point[] = [1, 2, 3].map((n) => ({ x: n, y: scale(n, settings.factor ?? 1) }));
console.log(points, import.meta.url ? "module" : "script");
