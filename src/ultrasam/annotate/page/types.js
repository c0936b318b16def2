// What the server and the page say to each other, and what the page keeps. Types only: nothing here runs.
// Coordinates are continuous pixels of the frame, x right, y down; boxes are half-open [x0, y0, x1, y1].

/** @typedef {[number, number]} Pair */
/** @typedef {{x: number, y: number}} Point */
/** @typedef {{size: Pair, counts: number[]}} Mask  size [H, W]; counts: COCO's RLE, column by column, background first */
/** @typedef {"prompt"|"brush"|"tracked"|"imported"|"auto"} Origin */
/** @typedef {{name: string, colour: string, key: string|null}} Class */
/** @typedef {{classes: Class[]}} Classes */
/** @typedef {{id: string, name: string, note: string, available: boolean, why: string|null}} Format */
/** @typedef {{id: number, place: string, kind: string, objects: number, frames: number, least: number|null, done: boolean}} ScanEntry */
/** @typedef {{name: string, version: string, model: {id: string, name: string, licence: string}, classes: Class[],
 *   classesVersion: number, scans: ScanEntry[], formats: Format[]}} Project */
/** @typedef {{kind: string, box: number[], spacing: Pair|null}} Region */
/** @typedef {{id: number, label: string, name: string, colour: string|null, version: number}} ScanObject */
/** @typedef {{object: number, frame: number, origin: Origin, score: number|null, doubt: string, checked: boolean}} Mark */
/** @typedef {{id: number, place: string, axis: string|null, axes: string[], frames: number, width: number, height: number,
 *   spacing: Pair|null, regions: Region[], frameTime: number|null, warnings: string[], objects: ScanObject[],
 *   timeline: Mark[], done: boolean, seq: number, undo: number, redo: number, classesVersion: number}} OpenScan */
/** @typedef {{length: number, start: Pair, end: Pair}} Diameter */
/** @typedef {{unit: "px"|"mm", area: number, perimeter: number, long_diameter: Diameter, short_diameter: Diameter,
 *   ellipse: {centre: Pair, major: number, minor: number, circumference: number}|null, box: number[], box_size: Pair,
 *   components: number}} Measurements */
/** @typedef {{box: number[]|null, points: Pair[], labels: number[]}} Prompts */
/** @typedef {{object: number, frame: number, version: number, mask: Mask, score: number|null, origin: Origin, doubt: string,
 *   checked: boolean, prompts: Prompts, measurements: Measurements|null}} Annotation */
/** @typedef {{seq: number, frame: number|null, object: number|null, annotations: Annotation[],
 *   removed: {object: number, frame: number}[], objects: ScanObject[]|null, timeline: Mark[]|null, marks?: Mark[],
 *   axis?: string|null, done: boolean, undo: number, redo: number, ms: number}} Change
 * `objects` null: as they were; `timeline` null: `marks` says what is different now, on any frame;
 * `axis`: along which the scan is annotated now
 */
/** @typedef {{annotations: Annotation[], width: number, height: number, spacing: Pair|null}} FrameAnswer */
/** @typedef {{kind: "click", x: number, y: number, positive: boolean} | {kind: "box", box: number[]}
 *   | {kind: "calliper", ends: number[][]}} Prompt */
/** @typedef {{object: number, frame: number, reason: string, kind: "drift"|"lost"|"anchor"|"end"|"unreadable"|"changed"}} Stopped */
/** @typedef {{frame: number, annotations: Annotation[], seconds: number}
 *   | {end: true, stopped: Stopped[], frames: number, change: Change} | {error: string, code: string}} TrackLine */

/**
 * What prompts and strokes are for. `id` is null until the server has answered the first change of a new object;
 * changes that wait in the queue share the target, so they all end up in the same object.
 * @typedef {{id: number|null, label: string|null}} Target
 */
/**
 * A stroke of the brush or a polygon that the server has not confirmed yet. `bits` are row by row.
 * @typedef {{frame: number, target: Target, bits: Uint8Array, width: number, height: number, add: boolean}} Stroke
 */
/** @typedef {{frame: number, target: Target, x: number, y: number, positive: boolean}} PendingClick */
/** @typedef {{frame: number, target: Target, mask: Mask, colour: string, key: string}} Preview */
/** @typedef {{x: number, y: number, px: number, py: number}} Pointer  image pixels and CSS pixels of the canvas */
/** @typedef {Pick<PointerEvent, "timeStamp"|"altKey"|"button"|"buttons">} Hand  of a mouse, or of the keyboard pointer */
/**
 * @typedef {object} Tool
 * @property {string} name
 * @property {string} cursor
 * @property {() => string} hint  one sentence for the status line
 * @property {(at: Pointer, event: Hand) => void} [down]
 * @property {(at: Pointer, event: Hand) => void} [move]  while pressed
 * @property {(at: Pointer, event: Hand) => void} [up]
 * @property {(at: Pointer, event: Hand) => void} [hover]  while not pressed
 * @property {() => boolean} [pressed]  of a tool that is held down while it draws: whether it is now
 * @property {() => string} [begun]  what is half drawn, in words; "" where nothing is
 * @property {() => void} [leave]
 * @property {(key: string, alt: boolean) => boolean} [key]  Enter, Escape, Backspace; true: used
 * @property {() => void} [cancel]  forget what is half drawn
 * @property {(context: CanvasRenderingContext2D) => void} [draw]  in CSS pixels of the canvas
 */

export {};
