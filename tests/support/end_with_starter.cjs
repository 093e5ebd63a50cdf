// Ends a node process with the one that started it, however that ends: nobody writes to its standard input, which the
// system closes then. It is loaded before the program itself (node --require).
process.stdin.on("close", () => process.exit(1)).resume().unref();
