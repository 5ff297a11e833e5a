package archive

import (
	"path"
	"strings"
)

func matchesAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if Match(pattern, name) {
			return true
		}
	}
	return false
}

// Match tells whether a glob matches a relative path: `*`, `?` and `[…]` within a part, `**` for any number of parts.
// A pattern without a slash is matched with the whole path too, not with the last part alone. One that is malformed matches nothing.
func Match(pattern, name string) bool {
	return matchParts(strings.Split(path.Clean(pattern), "/"), strings.Split(name, "/"))
}

// matchParts goes back to the last `**` alone, which is enough, so that no pattern costs more than the product of both lengths.
func matchParts(patterns, parts []string) bool {
	at, deep, from := 0, -1, 0
	for i := 0; i < len(parts); {
		switch {
		case at < len(patterns) && patterns[at] == "**":
			deep, from = at, i
			at++
		case at < len(patterns) && matchPart(patterns[at], parts[i]):
			at++
			i++
		case deep >= 0:
			from++
			at, i = deep+1, from
		default:
			return false
		}
	}
	for at < len(patterns) && patterns[at] == "**" {
		at++
	}
	return at == len(patterns)
}

func matchPart(pattern, part string) bool {
	ok, err := path.Match(pattern, part)
	return ok && err == nil
}
