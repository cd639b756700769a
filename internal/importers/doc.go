// Package importers has tests of what imports what. A program that imports the driver gets no module in a newer version than the storage
// library alone asks for. Packages that both modules use know no storage library. docs/design.md names the packages of internal/core, what
// they import, and files and names that there are.
package importers
