"""Private DNS: `<service>.railway.internal` by the asker's network; other names go on to the machine's resolvers."""
