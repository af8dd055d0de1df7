export function grade(percent: number): string {
  return percent >= 90 ? "A" : percent >= 80 ? "B" : "C";
}
