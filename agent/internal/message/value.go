// Package message reads and writes the JSON objects of the guest protocol: strictly, without duplicate keys, and without
// reflection, which is dear where each instruction is translated before it runs.
package message

// Kind is the type of a JSON value.
type Kind uint8

// The kinds of values.
const (
	Null Kind = iota
	Bool
	Number
	Text
	List
	Map
)

// Value is one JSON value. A Number keeps its text.
type Value struct {
	Kind   Kind
	Truth  bool
	Text   string
	Items  []Value
	Fields Object
}

// Field is one name and its value.
type Field struct {
	Name  string
	Value Value
}

// Object is a JSON object in the order in which it was written. Names are unique.
type Object []Field

// Get returns the value of a name; ok is false where there is none.
func (o Object) Get(name string) (value Value, ok bool) {
	for i := range o {
		if o[i].Name == name {
			return o[i].Value, true
		}
	}
	return Value{}, false
}

// Text returns a name's text, or "" where it is missing or something else.
func (o Object) Text(name string) string {
	if v, ok := o.Get(name); ok && v.Kind == Text {
		return v.Text
	}
	return ""
}
