// Package console finds, in what a Linux kernel wrote to its console, the
// messages that say that something is wrong with it.
package console

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// A Finding is a message, or several that follow each other closely, with the
// lines around.
type Finding struct {
	Test  string   // the test that began last, as the guest's marks name it; "" if none had
	Lines []string // without line ends
}

const (
	linesBefore = 3
	// linesAfter is how far a finding reaches beyond its last message. A
	// trace has more lines than that, but traceLine knows most of them.
	linesAfter = 5
	// mostLines keeps a kernel that complains without end from filling the
	// report; what follows is another finding.
	mostLines = 100
)

// Scan reads a console's output up to its end.
func Scan(r io.Reader) ([]Finding, error) {
	var s scanner
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.line(strings.TrimRight(line, "\r\n"))
		}
		if errors.Is(err, io.EOF) {
			s.end()
			return s.findings, nil
		}
		if err != nil {
			s.end()
			return s.findings, fmt.Errorf("read the console: %w", err)
		}
	}
}

// A scanner follows a console line by line.
type scanner struct {
	findings []Finding
	test     string
	expected []string // texts of messages that a test provokes
	before   []string // the last lines outside of a finding
	open     bool     // current is a finding that goes on
	current  Finding
	after    int // the lines that current still takes
}

func (s *scanner) line(line string) {
	message := stamp.ReplaceAllString(line, "")
	switch {
	case s.isMark(message):
	case s.isExpected(message):
	case isBad(message):
		s.take(line)
	case s.open:
		s.follow(line, message)
	default:
		s.remember(line)
	}
}

// isMark obeys the marks of package wire.
func (s *scanner) isMark(message string) bool {
	if test, ok := strings.CutPrefix(message, wire.MarkTest); ok {
		s.end()
		s.test = test
		return true
	}
	if text, ok := strings.CutPrefix(message, wire.MarkExpect); ok {
		s.expected = append(s.expected, text)
		return true
	}
	if message == wire.MarkExpectNone {
		s.expected = nil
		return true
	}
	return false
}

// isExpected tells if a test provokes the message. No test can expect a WARNING
// or a BUG.
func (s *scanner) isExpected(message string) bool {
	return provoked.MatchString(message) &&
		slices.ContainsFunc(s.expected, func(text string) bool { return strings.Contains(message, text) })
}

func isBad(message string) bool {
	return !ignored.MatchString(message) &&
		(aufsMessage.MatchString(message) || kernelMessage.MatchString(message))
}

// take puts a bad line into the current finding, or into a new one.
func (s *scanner) take(line string) {
	if !s.open {
		s.current = Finding{Test: s.test, Lines: s.before}
		s.before = nil
		s.open = true
	}
	s.after = linesAfter
	s.add(line)
}

// follow puts a line that stands after a bad one into its finding.
func (s *scanner) follow(line, message string) {
	if !traceLine.MatchString(message) {
		s.after--
	}
	if strings.HasPrefix(message, "---[ end") {
		s.after = 0
	}
	s.add(line)
}

// add puts a line into the current finding and ends it when it is complete.
func (s *scanner) add(line string) {
	s.current.Lines = append(s.current.Lines, line)
	if s.after == 0 || len(s.current.Lines) >= mostLines {
		s.end()
	}
}

// end ends the current finding, if there is one.
func (s *scanner) end() {
	if s.open {
		s.findings = append(s.findings, s.current)
		s.open = false
	}
}

func (s *scanner) remember(line string) {
	s.before = append(s.before, line)
	if len(s.before) > linesBefore {
		s.before = s.before[1:]
	}
}

var aufsVersion = regexp.MustCompile(`(?m)^(?:\[ *\d+\.\d+\] )?aufs (\d+\S*)\r?$`)

// AufsVersion finds the line by which a built-in aufs introduces itself.
// It returns "" if there is none.
func AufsVersion(console string) string {
	if match := aufsVersion.FindStringSubmatch(console); match != nil {
		return match[1]
	}
	return ""
}
