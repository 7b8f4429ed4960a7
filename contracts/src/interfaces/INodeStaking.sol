// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Stake that can be withdrawn from `readyAt` on, in seconds.
struct UnbondRequest {
    uint128 amount;
    uint64 readyAt;
}

/// @title Stakes of nodes, and the keys that may sign for them
/// @notice A node is the address of its cold wallet. `bonded` is the stake that counts.
interface INodeStaking {
    /// @notice bondedIn = bonded + unbonding + withdrawn + slashed. What is slashed is burnt.
    struct Totals {
        uint128 bonded;
        uint128 unbonding;
        uint128 bondedIn;
        uint128 withdrawn;
        uint128 slashed;
    }

    event Bonded(address indexed node, uint128 amount);
    event UnbondStarted(address indexed node, uint128 amount, uint64 readyAt);
    event StakeWithdrawn(address indexed node, uint128 amount);
    event SignerSet(address indexed node, address indexed signer);
    event SignerRevoked(address indexed node, address indexed signer, uint64 punishableUntil);
    event Slashed(address indexed node, uint128 amount, bytes32 indexed evidence);

    error ZeroAmount();
    error InsufficientBond(uint128 bonded, uint128 amount);
    error TooManyRequests(uint256 max);
    error NothingMatured(uint64 now_);
    error BadSigner(address signer);
    error NoConsent(address signer, address signedBy);
    error ConsentExpired(uint64 deadline);
    error NotASigner(address node, address key);
    error NotGovernor(address caller);
    error SlashTooLarge(uint128 amount, uint128 max);
    error SlashedLately(address node, uint64 until);
    error NothingToSlash(address node);

    /// @notice Put stake behind the caller's node.
    function bond(uint128 amount) external;

    /// @notice Like {bond}, with a permit. A permit that fails because somebody sent it first does no harm: the
    /// allowance is there.
    function bondWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Stop `amount` from counting. It can be withdrawn after the unbonding time. At most 16 requests at a
    /// time.
    function unbond(uint128 amount) external;

    /// @notice Pay out all of the caller's requests that are ready.
    function withdraw() external;

    /// @notice Let a hot key sign and send for the caller's node. The key has signed SignerConsent(node, deadline), so
    /// nobody can name a key that is somebody else's.
    function setSigner(address signer, uint64 deadline, bytes calldata consent) external;

    /// @notice Stop a key from signing, at once. The node answers for what it has signed for the unbonding time.
    function revokeSigner(address signer) external;

    /// @notice Burn `amount` of a node's stake, or all of it if it is less. The bonded stake goes first, then the
    /// oldest request to unbond. Nobody gains by it. Only governance, at most the minimum stake of today, and once for
    /// a node in the slash gap. `evidence` is the keccak256 of the file that was voted on.
    function slash(address node, uint128 amount, bytes32 evidence) external;

    /// @notice A node's stake.
    function nodeOf(address node) external view returns (uint128 bonded, uint128 unbonding);

    /// @notice The stake of a node that counts.
    function bondedOf(address node) external view returns (uint128);

    /// @notice True if `key` may sign for `node` now. A node's own key always may.
    function isSigner(address node, address key) external view returns (bool);

    /// @notice The time until which the node answers for a key's signatures: 0 for a key that the node never named,
    /// the largest number while the key is active.
    function signerUntil(address node, address key) external view returns (uint64);

    /// @notice The time of the newest slash of a node, 0 if there was none.
    function slashedAt(address node) external view returns (uint64);

    /// @notice The node's requests to unbond that were not withdrawn yet, the oldest first.
    function unbondRequests(address node) external view returns (UnbondRequest[] memory);

    /// @notice Sums over all nodes, from which anybody can check the contract's balance.
    function totals() external view returns (Totals memory);
}
