// Drives a checkout of http-tests/cache-tests: its origin, and its client.
//
//   node suite.mjs origin CHECKOUT       serves on a free port of 127.0.0.1, which it prints
//   node suite.mjs client CHECKOUT BASE  prints one JSON object for each test
import http from 'node:http'
import { pathToFileURL } from 'node:url'

const [command, checkout, base] = process.argv.slice(2)
const load = async path => import(pathToFileURL(`${checkout}/${path}`))

async function origin () {
  const handlers = {}
  for (const name of ['config', 'state', 'test']) {
    handlers[name] = (await load(`test-engine/server/handle-${name}.mjs`)).default
  }
  console.log = () => {} // the suite's own warnings; only the port goes to the runner
  const server = http.createServer((request, response) => {
    const [, first, ...rest] = new URL(request.url, 'http://127.0.0.1').pathname.split('/')
    if (first in handlers) handlers[first](rest, request, response)
    else response.end()
  })
  server.keepAliveTimeout = 0 // or connections close under whoever just chose to use them
  server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`))
}

async function client () {
  const tests = (await load('tests/index.mjs')).default
  const { runTests, getResults } = await load('test-engine/client/runner.mjs')
  const { determineTestResult, resultTypes } = await load('test-engine/lib/results.mjs')
  console.error = () => {}
  await runTests(tests, false, base)
  const results = getResults()
  const named = Object.entries(resultTypes)
  for (const suite of tests) {
    for (const { id, kind } of suite.tests) {
      const type = determineTestResult(tests, id, results)
      const [outcome] = named.find(([, each]) => each === type)
      const why = Array.isArray(results[id]) ? results[id][1] : ''
      console.log(JSON.stringify({ suite: suite.id, id, kind: kind ?? 'required', outcome, why }))
    }
  }
}

await { origin, client }[command]()
