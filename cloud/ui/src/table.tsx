// A small table in a card, or a sentence where there is nothing to list.
import type { ComponentChildren } from "preact";

interface Props {
  readonly name: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly ComponentChildren[])[];
  readonly empty: string;
  readonly numbers?: readonly number[]; // columns that are numbers
}

export function Table({ name, head, rows, empty, numbers = [] }: Props) {
  const kind = (at: number) => (numbers.includes(at) ? "number" : undefined);
  return (
    <section class="card">
      <h2>{name}</h2>
      {rows.length === 0 ? (
        <p class="empty">{empty}</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label={name}>
          <table>
            <thead>
              <tr>
                {head.map((heading, at) => (
                  <th key={heading} scope="col" class={kind(at)}>
                    {heading}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row, line) => (
                <tr key={line}>
                  {row.map((cell, at) => (
                    <td key={at} class={kind(at)}>
                      {cell}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
