// Package owners changes the owners of all files of a layer, in a way that can be finished after a crash.
package owners
