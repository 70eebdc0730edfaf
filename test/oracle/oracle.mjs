// Answers what an independent simulator of IAM would decide: one request a line
// on standard input, {"id":N,"simulation":{…}}, one answer a line on standard
// output, in the same order: {"id":N,"result":"Allowed","ignored":[…]}, where
// ignored are the condition keys that do not apply to the action, or
// {"id":N,"error":"…"} if the simulator refuses the request.
//
// The simulator is AGPL: it runs beside the tests, in a process of its own.
import { runSimulation } from '@cloud-copilot/iam-simulate'

const maxLine = 1 << 20

async function answer(line) {
  let id = -1
  try {
    const request = JSON.parse(line)
    id = request.id
    const run = await runSimulation(request.simulation, { simulationMode: 'Strict' })
    switch (run.resultType) {
      case 'single':
        return { id, result: run.overallResult, ignored: run.result.ignoredContextKeys ?? [] }
      case 'error':
        return { id, error: JSON.stringify(run.errors).slice(0, 2000) }
      default:
        return { id, error: `a result of type ${run.resultType}` }
    }
  } catch (e) {
    return { id, error: String(e?.message ?? e).slice(0, 2000) }
  }
}

let rest = ''
process.stdin.setEncoding('utf8')
for await (const chunk of process.stdin) {
  rest += chunk
  let out = ''
  for (let end; (end = rest.indexOf('\n')) >= 0; rest = rest.slice(end + 1)) {
    out += JSON.stringify(await answer(rest.slice(0, end))) + '\n'
  }
  if (rest.length > maxLine) {
    process.stderr.write('a line is too long\n')
    process.exit(1)
  }
  if (out) process.stdout.write(out)
}
