/** Memory of plain bytes that is used again. */
export interface PieceMemory {
  take(): Buffer;
  /** All events of a piece were handed out, and the next ones asked for. */
  parsed(piece: Buffer): void;
}

/** Pieces that are inflated, or are being, while another is hashed, parsed and stored. */
export const piecesAhead = 2;

/**
 * Bytes of a piece where its consumer is done with it when it asks for the next, and how many such
 * pieces there are.
 */
const pieceBytes = 1024 * 1024;
const pieceCount = piecesAhead + 1;

/** The same few pieces in turn: for a reader that keeps nothing of one when it asks for the next. */
export function piecesInTurn(): PieceMemory {
  const pieces = Array.from({ length: pieceCount }, () => Buffer.allocUnsafeSlow(pieceBytes));
  let turn = 0;
  return {
    take: () => pieces[turn++ % pieceCount] ?? Buffer.allocUnsafeSlow(pieceBytes),
    parsed: () => undefined,
  };
}
