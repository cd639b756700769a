//go:build linux

package differential

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A Script describes how to make a stack of layers, the lowest layer first.
//
// Its text has a line "layer" for each layer. With "layer on-copy", the parent
// is not the layer before, but the copy of that layer, which was made by
// applying its Diff. The words "converted", "read-only" and "others" with a
// number stand for the other fields of a Layer. The operations of the layer
// follow, one on each line: the verb and its arguments, with blanks between
// them. Numbers are written as in Go, and anything else is quoted as in Go.
// Empty lines and lines that begin with '#' mean nothing.
type Script []Layer

// A Layer is what happens in one layer.
type Layer struct {
	OnCopy bool
	// Convert says that the store is converted before the layer is made.
	Convert bool
	// ReadOnly says that the layer and its copy are made on top of layers that
	// are on a read-only mount.
	ReadOnly bool
	// Others has a bit for each mount of the layer and of its copy, the lowest
	// bit for the first mount. The subject's other backend makes the mounts
	// whose bit is set.
	Others uint64
	Ops    []Op
}

// An Op is one operation on a tree. The verb says what the arguments are. A
// number is in Go's syntax for integers.
type Op struct {
	Verb string
	Args []string
}

const (
	layerWord    = "layer"
	onCopyWord   = "on-copy"
	convertWord  = "converted"
	readOnlyWord = "read-only"
	othersWord   = "others"
)

// String returns the script's text.
func (s Script) String() string {
	var b strings.Builder
	for _, layer := range s {
		b.WriteString(layer.line() + "\n")
		for _, op := range layer.Ops {
			b.WriteString(op.String() + "\n")
		}
	}
	return b.String()
}

// line returns the line that begins the layer.
func (l Layer) line() string {
	line := layerWord
	for _, word := range []struct {
		is   bool
		text string
	}{{l.OnCopy, onCopyWord}, {l.Convert, convertWord}, {l.ReadOnly, readOnlyWord}} {
		if word.is {
			line += " " + word.text
		}
	}
	if l.Others != 0 {
		line += fmt.Sprintf(" %s %#b", othersWord, l.Others)
	}
	return line
}

// parseLayer is the inverse of line, without the first word.
func parseLayer(words string) (Layer, error) {
	var l Layer
	fields := strings.Fields(words)
	for i := 0; i < len(fields); i++ {
		switch fields[i] {
		case onCopyWord:
			l.OnCopy = true
		case convertWord:
			l.Convert = true
		case readOnlyWord:
			l.ReadOnly = true
		case othersWord:
			i++
			others, err := strconv.ParseUint(strings.Join(fields[i:min(i+1, len(fields))], ""), 0, 64)
			if err != nil {
				return l, fmt.Errorf("the number after %q: %w", othersWord, err)
			}
			l.Others = others
		default:
			return l, fmt.Errorf("%q after %q", words, layerWord)
		}
	}
	return l, nil
}

// String returns the operation's line in a script.
func (op Op) String() string {
	line := op.Verb
	for i, arg := range op.Args {
		if verbs[op.Verb].args[i] == argNumber {
			line += " " + arg
		} else {
			line += " " + strconv.Quote(arg)
		}
	}
	return line
}

// Parse reads the text of a script. Its error has the number of the line.
func Parse(r io.Reader) (Script, error) {
	var s Script
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if len(s) == 0 {
		return nil, errors.Join(errors.New("there is no layer"), lines.Err())
	}
	return s, lines.Err()
}

// add adds one line of a script's text.
func (s *Script) add(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	if verb == layerWord {
		layer, err := parseLayer(rest)
		*s = append(*s, layer)
		return err
	}
	if len(*s) == 0 {
		return fmt.Errorf("%q comes before the first %q", line, layerWord)
	}
	op, err := parseOp(verb, rest)
	if err != nil {
		return err
	}
	layer := &(*s)[len(*s)-1]
	layer.Ops = append(layer.Ops, op)
	return nil
}

func parseOp(name, rest string) (Op, error) {
	v, ok := verbs[name]
	if !ok {
		return Op{}, fmt.Errorf("unknown verb %q", name)
	}
	op := Op{Verb: name}
	for _, kind := range v.args {
		rest = strings.TrimSpace(rest)
		var arg string
		var err error
		if kind == argNumber {
			arg, rest, _ = strings.Cut(rest, " ")
			_, err = strconv.ParseInt(arg, 0, 64)
		} else {
			arg, rest, err = cutQuoted(rest)
		}
		if err == nil && kind == argPath {
			err = checkPath(arg)
		}
		if err != nil {
			return op, fmt.Errorf("argument %d of %s: %w", len(op.Args)+1, name, err)
		}
		op.Args = append(op.Args, arg)
	}
	if strings.TrimSpace(rest) != "" {
		return op, fmt.Errorf("%s has too many arguments: %s", name, rest)
	}
	return op, nil
}

// cutQuoted splits a text after the quoted string that it begins with.
func cutQuoted(s string) (arg, rest string, err error) {
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", fmt.Errorf("%q is not quoted: %w", s, err)
	}
	arg, err = strconv.Unquote(quoted)
	return arg, s[len(quoted):], err
}

// checkPath refuses paths that lead out of a tree. It refuses the tree's root
// as well, on which there are no operations.
func checkPath(path string) error {
	for _, name := range strings.Split(path, "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) {
			return fmt.Errorf("%q is not a path below the root", path)
		}
	}
	return nil
}
