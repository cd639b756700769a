// Package importers tests imports. A program that imports the driver gets no module in a newer version than the storage library alone asks
// for. Packages that both modules use import no storage library. docs/design.md names the packages of internal/core and what they import,
// and names only files and identifiers that exist.
package importers
