// Uses the packages once, so that a template's page cache holds them.
const _ = require("lodash");
const Ajv = require("ajv");
const moment = require("moment");
const { v4 } = require("uuid");
require("axios");
require("commander");
const yaml = require("js-yaml");
const semver = require("semver");

const valid = new Ajv().compile({ type: "array", items: { type: "number" } })(_.range(3));
console.log(valid, moment.utc(0).format("YYYY"), v4().length, yaml.load("a: 1").a, semver.gt("2.0.0", "1.9.9"));
