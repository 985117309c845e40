-- Removes the members of the node, and rejects its changes up to this epoch from now on. `lost` is the
-- stored text of the leave cause of a dead node.
if generation then
  for _, member in ipairs(own_members()) do
    remove_member(member, 'lost')
  end
  redis.call('HSET', key, 'f:' .. node, text(math.max(fence, epoch)))
  save()
end
return 1
