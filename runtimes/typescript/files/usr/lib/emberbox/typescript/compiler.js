// Checks and compiles one program: node compiler.js SCRIPT FOLDER. The folder is then a program for node.
//
// As the entry of a startup snapshot (node --snapshot-blob BLOB --build-snapshot compiler.js) it keeps the compiler, and the
// declarations of the language and of Node parsed and bound, so that a start from the snapshot has only the program to look at.
'use strict'
const fs = require('fs')
const path = require('path')

const LIBRARY = '/usr/share/nodejs/typescript/lib'
const TYPES = '/usr/share/nodejs/@types'
const WARM = 'import * as fs from "fs"\nconst text: string[] = fs.readdirSync("/").map((name) => name.trim())\n' +
  'export class Warm<T> { constructor(readonly value: T) {} async get(): Promise<T> { return this.value } }\n' +
  'console.log(new Warm(text).value.length, new Map<string, number>([["a", 1]]), `${[...text].sort()}`)\n'

const ts = loadCompiler()
const shared = new Map()
let earlier
const options = {
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2022.d.ts'],
  module: ts.ModuleKind.Node16,
  moduleResolution: ts.ModuleResolutionKind.Node16,
  types: ['node'],
  typeRoots: [TYPES],
  skipLibCheck: true,
  inlineSourceMap: true,
  resolveJsonModule: true,
  allowJs: true,
  noEmitOnError: true,
}

// A snapshot has only Node's own modules: the compiler is evaluated by hand, as require would do it.
function loadCompiler() {
  const file = path.join(LIBRARY, 'typescript.js')
  const module = { exports: {} }
  const allowed = { fs, path, os: require('os'), buffer: require('buffer') }
  const only = (name) => {
    if (name in allowed) return allowed[name]
    throw new Error(`${name} is not needed`)
  }
  new Function('module', 'exports', 'require', '__filename', '__dirname', fs.readFileSync(file, 'utf8'))(
    module, module.exports, only, file, LIBRARY)
  return module.exports
}

function hostOf(folder, sources) {
  const host = ts.createCompilerHost(options)
  const { getSourceFile, fileExists, directoryExists } = host
  host.getDefaultLibLocation = () => LIBRARY
  host.getCurrentDirectory = () => folder
  host.fileExists = (name) => sources.has(name) || known(name, 'file', fileExists)
  host.directoryExists = (name) => known(name, 'folder', directoryExists)
  host.getSourceFile = (name, version, ...rest) => {
    if (sources.has(name)) return ts.createSourceFile(name, sources.get(name), version)
    return ours(name) ? remembered(`source ${name}`, () => getSourceFile(name, version, ...rest)) : getSourceFile(name, version, ...rest)
  }
  return host
}

const ours = (name) => name.startsWith('/usr/')
const known = (name, kind, ask) => (ours(name) ? remembered(`${kind} ${name}`, () => ask(name)) : ask(name))

function remembered(key, ask) {
  if (!shared.has(key)) shared.set(key, ask())
  return shared.get(key)
}

function compile(script, folder) {
  const base = path.dirname(script)
  const host = hostOf(base, new Map())
  const program = ts.createProgram([script], { ...options, rootDir: base, outDir: folder }, host, earlier)
  const result = program.emit()
  const found = ts.sortAndDeduplicateDiagnostics([...ts.getPreEmitDiagnostics(program), ...result.diagnostics])
  const errors = found.filter((one) => one.category === ts.DiagnosticCategory.Error)
  fs.writeSync(2, ts.formatDiagnostics(found, host))
  if (errors.length) return 1
  describe(program, script, folder)
  return 0
}

// Tells node where the program begins, and whether it is made of modules.
function describe(program, script, folder) {
  const source = program.getSourceFile(script)
  const name = path.basename(script).replace(/\.([cm]?)ts$/, '.$1js')
  const type = source.impliedNodeFormat === ts.ModuleKind.ESNext ? 'module' : 'commonjs'
  fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ main: `./${name}`, type }))
}

function main() {
  // From a snapshot, no file of the compiler's own stands before them.
  const [script, folder] = process.argv.slice(-2)
  process.exitCode = compile(path.resolve(script), path.resolve(folder))
}

function prepare() {
  const name = '/work/main.ts'
  const host = hostOf('/work', new Map([[name, WARM]]))
  const program = ts.createProgram([name], options, host)
  process.stderr.write(ts.formatDiagnostics(ts.getPreEmitDiagnostics(program), host))
  program.emit(undefined, () => undefined)
  // Of a program that was checked the checker would be kept, which no other can use.
  earlier = ts.createProgram([name], options, host, program)
}

const { startupSnapshot } = require('v8')
if (startupSnapshot && startupSnapshot.isBuildingSnapshot()) {
  prepare()
  startupSnapshot.setDeserializeMainFunction(main)
} else {
  main()
}
