// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, Receipt, Share} from "./Types.sol";

/// @title Cases about the shares of a receipt
/// @notice A payer who finds that a node lied about whose data its answer drew on puts the receipt and the texts on the
/// chain. Everybody can then repeat the attribution, and governance judges. Nothing else is guilty: silence, lost data
/// or a restore cost no stake. A case that nobody judges is a draw, and everybody gets the bond back.
interface IDisputes {
    enum State {
        None,
        Open,
        Guilty,
        NotGuilty,
        Draw
    }

    /// @notice A case, under the EIP-712 digest of its receipt. `openedAt` is in seconds.
    struct Case {
        address node;
        uint64 openedAt;
        State state;
    }

    /// @notice The two sides of a node's open case, who have put in `bond` each. All values are 0 if it has none, and
    /// the contester if nobody contests.
    struct Sides {
        address challenger;
        uint96 bond;
        address contester;
    }

    /// @notice What matters of a node's earlier cases, in seconds: its last slash, and until when no new case holds its
    /// stake.
    struct Record {
        uint64 slashedAt;
        uint64 freeUntil;
    }

    /// @notice bondsIn = bondsOut + the bonds of open cases. bondsOut + slashed = paidOut + all balances.
    struct Totals {
        uint128 bondsIn;
        uint128 bondsOut;
        uint128 slashed;
        uint128 paidOut;
    }

    event Challenged(
        bytes32 indexed digest, address indexed node, address indexed challenger, uint96 bond, uint64 heldUntil
    );
    event Contested(bytes32 indexed digest, address indexed contester);
    event Judged(bytes32 indexed digest, bool guilty, uint128 slashed, uint128 reward);
    event Lapsed(bytes32 indexed digest);
    event Credited(address indexed account, uint128 amount);
    event Withdrawn(address indexed account, address to, uint128 amount);

    error ZeroAddress();
    error NotYourExchange(address caller, address payer, address authorizer);
    error SelfChallenge(address node, address caller);
    error OtherChannel(bytes32 channelId, bytes32 ofReceipt);
    error OtherShares(bytes32 sharesHash, bytes32 ofReceipt);
    error OtherPrompt(bytes32 commit, bytes32 ofReceipt);
    error OtherOutput(bytes32 commit, bytes32 ofReceipt);
    error TextsTooLong(uint256 length, uint256 max);
    error NotSignedByNode(address node, address signer);
    /// @dev The receipt is older than what stake still answers for, or its time is yet to come.
    error OutOfTime(uint64 issuedAt, uint64 earliest, uint64 latest);
    error AlreadyChallenged(bytes32 digest, State state);
    error CaseOpen(address node, address challenger);
    error SlashedLately(address node, uint64 until);
    error NoStake(address node);
    error NotOpen(bytes32 digest, State state);
    error AlreadyContested(bytes32 digest, address contester);
    error ContestOver(uint64 openedAt);
    error NotJudge(address caller);
    error JudgeOver(uint64 openedAt);
    error JudgeNotOver(uint64 openedAt);
    error NothingToWithdraw(address account);

    /// @notice Open a case about a receipt that the node has signed. Only the channel's payer or its authorizer, since
    /// nobody else may publish the texts. `prompt` and `output` are what the receipt's commitments are the keccak256
    /// of, each with its salt in front: together at most 24,576 bytes. Takes a bond of a twentieth of the minimum stake
    /// from the caller. The node's stake cannot leave before the case ends, unless it is free after a draw.
    function challenge(
        ChannelConfig calldata config,
        Receipt calldata receipt,
        Share[] calldata shares,
        bytes calldata nodeSig,
        bytes calldata prompt,
        bytes calldata output
    ) external returns (bytes32 digest);

    /// @notice Put in the same bond for the node, within the contest time. One account a case. The node itself can take
    /// the place of another.
    function contest(bytes32 digest) external;

    /// @notice End a case. Only governance, within the judge's time, contested or not. Guilty: the node loses the
    /// minimum stake or what it has, a tenth of it for the challenger and the rest for the protocol, and a contester's
    /// bond goes to the challenger. Not guilty: the challenger's bond goes to the contester, or else to the node.
    function judge(bytes32 digest, bool guilty) external;

    /// @notice End a case that was not judged in time: bonds go back. After that no case holds the node's stake for the
    /// unbonding time. Anybody.
    function close(bytes32 digest) external;

    /// @notice Pay the caller's whole balance to `to`.
    function withdraw(address to) external returns (uint128 amount);

    /// @notice The case about the receipt with this digest.
    function caseOf(bytes32 digest) external view returns (Case memory);

    /// @notice The two sides of the open case against a node.
    function sidesOf(address node) external view returns (Sides memory);

    /// @notice What matters of a node's earlier cases.
    function recordOf(address node) external view returns (Record memory);

    /// @notice The amount that an account can withdraw.
    function balanceOf(address account) external view returns (uint128);

    /// @notice The bond of a case that is opened now.
    function bondNow() external view returns (uint96);

    /// @notice Sums over all cases, from which anybody can check the contract's balance.
    function totals() external view returns (Totals memory);
}
