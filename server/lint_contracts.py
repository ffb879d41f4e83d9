"""Our own import contract: a room's inner shelves may be imported from inside that room only."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PrivateShelvesContract(Contract):
    """Finds imports that reach past a room's service into its shelves, sub-modules of a shelf included."""

    rooms = fields.StringField()
    shelves = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        trespasses: list[tuple[str, str]] = []
        for room in sorted(graph.find_children(self.rooms)):
            for shelf in self.shelves:
                private = f"{room}.{shelf}"
                if private not in graph.modules:
                    continue
                for module in sorted({private, *graph.find_descendants(private)}):
                    importers = sorted(graph.find_modules_that_directly_import(module))
                    trespasses += [(i, module) for i in importers if not i.startswith(f"{room}.")]
        return ContractCheck(kept=not trespasses, metadata={"trespasses": trespasses})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, private in check.metadata["trespasses"]:
            output.print_error(f"{importer} reaches into {private}; ask its service instead.")
