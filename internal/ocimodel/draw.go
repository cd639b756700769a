package ocimodel

import (
	"strings"

	"pgregory.net/rapid"
)

// Draw draws a stack of archives, as a text for Parse. The entries of an archive are in any order, and each archive has
// a meaning.
func Draw(t *rapid.T) string {
	words := rapid.Custom(drawWord)
	layers := make([]string, 0, 4)
	for range rapid.IntRange(2, 4).Draw(t, "layers") {
		var layer []string
		for _, word := range rapid.SliceOfN(words, 1, 7).Draw(t, "layer") {
			if more := append(layer[:len(layer):len(layer)], word); hasMeaning(more) {
				layer = more
			}
		}
		layers = append(layers, strings.Join(layer, " "))
	}
	return strings.Join(layers, " | ")
}

func hasMeaning(layer []string) bool {
	_, err := Read(Parse(strings.Join(layer, " "))[0])
	return err == nil
}

// drawWord draws one entry. There are few names, so that most are drawn more than once.
func drawWord(t *rapid.T) string {
	dir := rapid.SampledFrom([]string{"", "", "a/", "a/", "b/", "a/a/", "a/b/", "b/a/", "a/a/b/"}).Draw(t, "directory")
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	other := rapid.SampledFrom([]string{"a", "b", "c", "a/a", "a/b", "b/a", "a/a/b"}).Draw(t, "other")
	switch rapid.SampledFrom([]string{"file", "file", "whiteout", "whiteout", "directory", "opaque", "link", "symlink", "pipe"}).Draw(t, "kind") {
	case "whiteout":
		return dir + whiteoutPrefix + name
	case "directory":
		return dir + name + "/"
	case "opaque":
		return dir + opaqueMark
	case "link":
		return dir + name + "=" + other
	case "symlink":
		return dir + name + "->" + other
	case "pipe":
		return dir + name + "!"
	}
	return dir + name
}
