"""Access: who asks, and whether they may. `require` is the only authorisation call in the product.

Words: actor, permission, role, grant, scope. It knows no tables: what an actor is granted is found by `identity`.
"""
