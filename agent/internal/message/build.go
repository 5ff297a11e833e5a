package message

import (
	"strconv"
	"unicode/utf8"
)

// Builder writes one JSON object, field by field.
type Builder struct{ buffer []byte }

// Build starts an empty object.
func Build() *Builder { return &Builder{buffer: append(make([]byte, 0, 256), '{')} }

func (b *Builder) name(name string) {
	if len(b.buffer) > 1 {
		b.buffer = append(b.buffer, ',')
	}
	b.buffer = append(appendText(b.buffer, name), ':')
}

// Text adds a text. Bytes that are not UTF-8 become U+FFFD.
func (b *Builder) Text(name, value string) *Builder {
	b.name(name)
	b.buffer = appendText(b.buffer, value)
	return b
}

// Int adds a whole number.
func (b *Builder) Int(name string, value int64) *Builder {
	b.name(name)
	b.buffer = strconv.AppendInt(b.buffer, value, 10)
	return b
}

// Float adds a number with two places.
func (b *Builder) Float(name string, value float64) *Builder {
	b.name(name)
	b.buffer = strconv.AppendFloat(b.buffer, value, 'f', 2, 64)
	return b
}

// Bool adds true or false.
func (b *Builder) Bool(name string, value bool) *Builder {
	b.name(name)
	b.buffer = strconv.AppendBool(b.buffer, value)
	return b
}

// Null adds null.
func (b *Builder) Null(name string) *Builder {
	b.name(name)
	b.buffer = append(b.buffer, "null"...)
	return b
}

// TextOrNull adds a text, or null where it is empty.
func (b *Builder) TextOrNull(name, value string) *Builder {
	if value == "" {
		return b.Null(name)
	}
	return b.Text(name, value)
}

// Texts adds a list of texts.
func (b *Builder) Texts(name string, values []string) *Builder {
	b.name(name)
	b.buffer = append(b.buffer, '[')
	for i, value := range values {
		if i > 0 {
			b.buffer = append(b.buffer, ',')
		}
		b.buffer = appendText(b.buffer, value)
	}
	b.buffer = append(b.buffer, ']')
	return b
}

// Object adds an object that has been built; it must not be used again.
func (b *Builder) Object(name string, value *Builder) *Builder {
	b.name(name)
	b.buffer = append(b.buffer, value.Bytes()...)
	return b
}

// Bytes ends the object and returns it.
func (b *Builder) Bytes() []byte {
	b.buffer = append(b.buffer, '}')
	return b.buffer
}

const hexDigits = "0123456789abcdef"

func appendText(buffer []byte, text string) []byte {
	buffer = append(buffer, '"')
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRuneInString(text[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		buffer = append(buffer, text[start:i]...)
		switch {
		case c == '"' || c == '\\':
			buffer = append(buffer, '\\', c)
		case c < ' ':
			buffer = append(buffer, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			buffer = append(buffer, "\uFFFD"...)
		}
		i++
		start = i
	}
	return append(append(buffer, text[start:]...), '"')
}
