// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClaimFor, ClaimRecord, Payout} from "./Types.sol";

/// @title From claims to balances
/// @notice The node proposes who of the contributors gets what; when nobody has objected in time, all that a claim owes is
/// credited in one step, the node's own share included. Nobody is paid before that list is final.
interface IAttributionRewards {
    enum State {
        None,
        Proposed,
        Finalized,
        FinalizedLate
    }

    struct Proposal {
        bytes32 attributionRoot;
        bytes32 payoutsHash;
        uint32 leafCount;
        uint64 readyAt;
        State state;
    }

    /// @notice released = credited + notified, and credited = paidOut + Σ balances.
    struct Totals {
        uint128 released;
        uint128 credited;
        uint128 notified;
        uint128 paidOut;
    }

    event Proposed(
        address indexed node,
        uint64 indexed seq,
        bytes32 attributionRoot,
        uint32 leafCount,
        Payout[] payouts,
        uint64 readyAt
    );
    event Finalized(address indexed node, uint64 indexed seq, bool late);
    /// @param role 0 node, 1 owner of an adapter or of a Datanet (a claim's credits), 3 contributor, 4 a Datanet's
    /// treasury, 5 the protocol.
    event Credited(address indexed account, address indexed node, uint64 seq, uint128 amount, uint8 role);
    event StakersNotified(uint128 amount);
    event Withdrawn(address indexed account, address to, uint128 amount);
    /// @param code Why: 1 past its deadline, 2 not the account's next nonce, 3 more than its balance, 4 recipient 0,
    /// 5 not signed by the account. The first that applies.
    event WithdrawSkipped(address indexed account, uint256 nonce, uint8 code);

    error ZeroAddress();
    error UnknownClaim(address node, uint64 seq);
    error AlreadyProposed(address node, uint64 seq);
    error NotProposed(address node, uint64 seq, State state);
    error ProposeOver(uint64 deadline);
    error ProposeNotOver(uint64 deadline);
    error NotReady(uint64 readyAt);
    error NotSigner(address node, address signer);
    error TooMany(string what, uint256 count, uint256 max);
    error UnknownPot(uint16 pot, uint256 pots);
    error PayoutsNotAscending(uint256 index);
    error ZeroWeight(uint256 index);
    error BadWeights(uint16 pot, uint256 sum, uint256 expected);
    error BadLeaves(bytes32 attributionRoot, uint32 leafCount, uint256 payouts);
    error PayoutsMismatch(bytes32 proposed, bytes32 given);
    error InsufficientBalance(address account, uint128 balance, uint128 amount);
    error LengthMismatch(uint256 claims, uint256 signatures);

    /// @notice Say who gets the pots of a claim, once, until PROPOSE after it. Payouts ascend by (pot, account), and the
    /// weights of a listed pot sum to 1,000,000 · gross. By an active signer of the node, or with its signature.
    function propose(
        ClaimRecord calldata record,
        bytes32 attributionRoot,
        uint32 leafCount,
        Payout[] calldata payouts,
        bytes calldata nodeSignature
    ) external;

    /// @notice Credit everybody once the window has passed. A payout is `pot.amount · weight / (1,000,000 · pot.gross)`
    /// rounded down; the rest of a pot goes to its Datanet's treasury, a pot that is not listed at all to the protocol.
    function finalize(ClaimRecord calldata record, Payout[] calldata payouts) external;

    /// @notice The same for a claim that nothing was proposed for: its pots and 10 % of the node's share go to the protocol.
    function finalizeLate(ClaimRecord calldata record) external;

    function withdraw(address to, uint128 amount) external;

    /// @notice Send what accounts have signed, at most 256. Bad ones are skipped and do not stop the others.
    function withdrawFor(ClaimFor[] calldata claims, bytes[] calldata signatures) external;

    function balanceOf(address account) external view returns (uint128);

    function nonceOf(address account) external view returns (uint256);

    function proposalOf(address node, uint64 seq)
        external
        view
        returns (bytes32 attributionRoot, uint32 leafCount, bytes32 payoutsHash, uint64 readyAt, State state);

    function totals() external view returns (Totals memory);
}
